"""Reading logs, for the engine: forward, the last lines, and following what is written.

Nothing here waits: a :class:`Follower` is a descriptor to poll and a method to call when it is
readable, so that one loop can serve any number of followers. Reading never disturbs the writer, and
a file that is put aside while it is read is read to its end.
"""

from __future__ import annotations

from collections.abc import Iterator

from wherry.errors import NotSupported
from wherry.runtime.api import LogSettings
from wherry.runtime.logs.files import close_all, open_all
from wherry.runtime.logs.follower import Follower
from wherry.runtime.logs.parsing import (
    JsonFormat,
    LocalFormat,
    LogFormat,
    LogRecord,
    Place,
    single_lines,
)
from wherry.runtime.logs.places import starts, without_first

__all__ = ["Follower", "LogReader", "LogRecord"]


class LogReader:
    """The log of one container. NotSupported if its driver cannot be read.

    Records hold one line each or, if they may be ``joined`` and no time bounds them, as many as
    were written together: who needs no times is served much faster then.
    """

    def __init__(self, settings: LogSettings) -> None:
        if settings.driver not in ("local", "json-file"):
            raise NotSupported("configured logging driver does not support reading")
        self._path = settings.path
        self._json = settings.driver == "json-file"

    def _format(self, joined: bool) -> LogFormat:
        return JsonFormat(joined=joined) if self._json else LocalFormat()

    def read(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        tail: int | None = None,
        joined: bool = False,
    ) -> Iterator[LogRecord]:
        """Records from ``since_ns`` to ``until_ns`` (0: no bound); of all there are only the last
        ``tail`` lines are looked at."""
        joined = joined and not since_ns and not until_ns
        log_format = self._format(joined)
        files = open_all(self._path)
        try:
            for file, place in starts(log_format, files, tail):
                for record in _records(log_format, file.fileno(), place, joined):
                    if until_ns and record.time_ns > until_ns:
                        return
                    if record.time_ns >= since_ns:
                        yield record
        finally:
            close_all(files)

    def follow(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        tail: int | None = None,
        joined: bool = False,
    ) -> Follower:
        """Read as :meth:`read` does, and then what is written from there on."""
        joined = joined and not since_ns and not until_ns
        return Follower(self._path, self._format(joined), since_ns, until_ns, tail, joined)


def _records(log_format: LogFormat, fd: int, place: Place, joined: bool) -> Iterator[LogRecord]:
    skip = place.skip
    for found, _ in log_format.forward(fd, place.offset):
        records = without_first(found, skip)
        yield from records if joined else (line for one in records for line in single_lines(one))
        skip = 0
