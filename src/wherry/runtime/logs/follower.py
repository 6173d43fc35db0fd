"""Following one log while it is written."""

from __future__ import annotations

import os
from typing import IO

from wherry.runtime.logs.files import close_all, is_at, newer_files, open_all, open_one
from wherry.runtime.logs.parsing import LogFormat, LogRecord, Place, single_lines
from wherry.runtime.logs.places import starts, without_first
from wherry.runtime.logs.watch import watch_directory


class Follower:
    """Follows one log across rotations.

    ``fileno()`` becomes readable when something may have been written; :meth:`read_available`
    then returns what there is. The first call returns what was there before. ``done`` tells that a
    record after ``until_ns`` was met. Close it after use.
    """

    def __init__(
        self,
        path: str,
        log_format: LogFormat,
        since_ns: int,
        until_ns: int,
        tail: int | None,
        joined: bool,
    ) -> None:
        self._joined = joined
        self._path = path
        self._format = log_format
        self._since_ns = since_ns
        self._until_ns = until_ns
        self.done = False
        self._watch = watch_directory(os.path.dirname(path))
        files = open_all(path)
        self._pending = starts(log_format, files, tail)
        waiting = {id(file) for file, _ in self._pending}
        for file in files:
            if id(file) not in waiting and file is not files[0]:
                file.close()
        if files and id(files[0]) not in waiting:  # the newest is followed from its end
            self._pending.append((files[0], Place(log_format.end(files[0].fileno()), 0)))
        self._file: IO[bytes] | None = None
        self._place = Place(log_format.start, 0)
        self._room = 0  # bytes that the current call may still read

    @property
    def full(self) -> bool:
        """Whether the last call of :meth:`read_available` ended at its limit."""
        return self._room <= 0

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._watch.fd

    def forget(self) -> None:
        """Make ``fileno()`` wait for the next change; what is there can still be read."""
        self._watch.forget()

    def close(self) -> None:
        for file, _ in self._pending:
            file.close()
        if self._file is not None:
            self._file.close()
        self._watch.close()

    def read_available(self, limit: int = 1 << 20) -> list[LogRecord]:
        """What can be read now, at most about ``limit`` bytes; call again if it was ``full``."""
        self.forget()
        self._room = limit
        records: list[LogRecord] = []
        while not self.done and self._room > 0:
            if self._file is None and not self._next_file():
                break
            before = self._room
            self._read_file(records)
            if self._room == before and not self._left_behind():
                break
        return records

    def _next_file(self) -> bool:
        if not self._pending:
            file = open_one(self._path)
            if file is None:
                return False
            self._pending.append((file, Place(self._format.start, 0)))
        self._file, self._place = self._pending.pop(0)
        return True

    def _read_file(self, records: list[LogRecord]) -> None:
        if self._file is None:
            return
        fd = self._file.fileno()
        if os.fstat(fd).st_size < self._place.offset:  # cut by a log of one file
            self._place = Place(self._format.start, 0)
        offset = max(self._place.offset, self._format.start)
        skip = self._place.skip
        for found, after in self._format.forward(fd, offset):
            self._take(without_first(found, skip), records)
            self._room -= after - offset
            offset, skip = after, 0
            if self.done or self._room <= 0:
                break
        self._place = Place(offset, skip)

    def _take(self, found: list[LogRecord], records: list[LogRecord]) -> None:
        if not self._joined:
            found = [line for record in found for line in single_lines(record)]
        for record in found:
            if self._until_ns and record.time_ns > self._until_ns:
                self.done = True
                return
            if record.time_ns >= self._since_ns:
                records.append(record)

    def _left_behind(self) -> bool:
        """Whether the file at hand was put aside, and all of it was read; goes on to the next."""
        if self._file is None:
            return False
        if not self._pending:
            if is_at(self._path, self._file):
                return False
            newer = newer_files(self._path, self._format, self._file)
            if not newer:
                return False
            if self._unread():
                close_all(newer)
                return True
            self._pending = [(file, Place(self._format.start, 0)) for file in newer]
        self._file.close()
        self._file = None
        return True

    def _unread(self) -> bool:
        """Whether something was appended between the last read and the rotation."""
        if self._file is None:
            return False
        return next(self._format.forward(self._file.fileno(), self._place.offset), None) is not None
