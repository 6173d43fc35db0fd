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

    Records hold one line each or, if they may be ``joined``, as many as were written together:
    who needs no times is served much faster then.
    """

    def __init__(self, settings: LogSettings) -> None:
        if settings.driver not in ("local", "json-file"):
            raise NotSupported("configured logging driver does not support reading")
        self._path = settings.path
        self._format: LogFormat = LocalFormat() if settings.driver == "local" else JsonFormat()

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
        files = open_all(self._path)
        try:
            for file, place in starts(self._format, files, tail):
                for record in self._records(file.fileno(), place):
                    if until_ns and record.time_ns > until_ns:
                        return
                    if record.time_ns >= since_ns:
                        yield from [record] if joined else single_lines(record)
        finally:
            close_all(files)

    def _records(self, fd: int, place: Place) -> Iterator[LogRecord]:
        skip = place.skip
        for records, _ in self._format.forward(fd, place.offset):
            yield from without_first(records, skip)
            skip = 0

    def follow(
        self,
        *,
        since_ns: int = 0,
        until_ns: int = 0,
        tail: int | None = None,
        joined: bool = False,
    ) -> Follower:
        """Read as :meth:`read` does, and then what is written from there on."""
        return Follower(self._path, self._format, since_ns, until_ns, tail, joined)
