"""Reading logs, for the engine: forward, the last lines, and following what is written.

Nothing here waits: a :class:`Follower` is a descriptor to poll and a method to call when it is
readable, so that one loop can serve any number of followers. Reading never disturbs the writer, and
a file that is put aside while it is read is read to its end.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, NamedTuple

import msgspec

from wherry.errors import NotSupported
from wherry.runtime.api import LogSettings
from wherry.runtime.logs import formats
from wherry.runtime.logs.watch import watch_directory
from wherry.runtime.logs.writer import sound_size

_BLOCK = 64 * 1024


class LogRecord(msgspec.Struct, frozen=True):
    """One line of one stream (1 output, 2 errors) with its newline; a ``partial`` one is a piece
    whose line goes on in the stream's next record."""

    time_ns: int
    stream: int
    data: bytes
    partial: bool


class _JsonLine(msgspec.Struct, frozen=True):
    log: str = ""
    stream: str = ""
    time: str = ""


class Place(NamedTuple):
    """A position in a file: a byte offset, and lines to leave out of the record there."""

    offset: int
    skip: int


class LocalFormat:
    """Records of the ``local`` driver in an open file."""

    start = len(formats.MAGIC)

    def end(self, fd: int) -> int:
        """The offset after the last complete record."""
        return max(self.start, sound_size(fd, os.fstat(fd).st_size))

    def forward(self, fd: int, offset: int) -> Iterator[tuple[list[LogRecord], int]]:
        """The records from ``offset`` on, each with the offset after it; ends at the first that
        is not complete (yet)."""
        size = formats.HEADER.size
        while len(header := os.pread(fd, size, offset)) == size:
            length, flags, time_ns = formats.HEADER.unpack(header)
            if length > formats.MAX_PAYLOAD:
                return
            rest = length + formats.TRAILER.size
            body = os.pread(fd, rest, offset + size)
            if len(body) < rest:
                return
            partial = bool(flags & formats.PARTIAL)
            stream = flags & formats.STREAM_MASK
            lines = formats.split_lines(body[:length])
            offset += size + rest
            yield [LogRecord(time_ns, stream, line, partial) for line in lines], offset

    def backward(self, fd: int, end: int) -> Iterator[tuple[int, int]]:
        """Offsets of records before ``end``, last first, with the number of lines in each."""
        trailer = formats.TRAILER
        while end > self.start:
            found = os.pread(fd, trailer.size, end - trailer.size)
            if len(found) < trailer.size:
                return
            (length,) = trailer.unpack(found)
            if not formats.OVERHEAD < length <= end - self.start:
                return
            end -= length
            (records, _) = next(self.forward(fd, end), ([], 0))
            yield end, len(records)


class JsonFormat:
    """Docker's lines in an open file."""

    start = 0
    _decoder = msgspec.json.Decoder(_JsonLine)

    def end(self, fd: int) -> int:
        """As :meth:`LocalFormat.end`."""
        size = os.fstat(fd).st_size
        for offset, _ in self.backward(fd, size):
            return next(self.forward(fd, offset))[1]
        return 0

    def forward(self, fd: int, offset: int) -> Iterator[tuple[list[LogRecord], int]]:
        """As :meth:`LocalFormat.forward`; lines that are not Docker's are left out."""
        rest = b""
        while block := os.pread(fd, _BLOCK, offset + len(rest)):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                offset += len(line) + 1
                yield self._records(line), offset

    def _records(self, line: bytes) -> list[LogRecord]:
        try:
            found = self._decoder.decode(line)
            time_ns = parse_rfc3339(found.time)
        except (msgspec.DecodeError, ValueError):
            return []
        stream = 2 if found.stream == "stderr" else 1
        data = found.log.encode()
        return [LogRecord(time_ns, stream, data, not data.endswith(b"\n"))]

    def backward(self, fd: int, end: int) -> Iterator[tuple[int, int]]:
        """As :meth:`LocalFormat.backward`."""
        rest = b""
        first = True
        while end > 0:
            size = min(_BLOCK, end)
            end -= size
            rest, *lines = (os.pread(fd, size, end) + rest).split(b"\n")
            position = end + len(rest) + sum(len(line) + 1 for line in lines)
            for line in reversed(lines):
                position -= len(line)
                if not first:
                    yield position, 1
                first = False  # what follows the last newline is not a line yet
                position -= 1
        if rest and not first:
            yield 0, 1


LogFormat = LocalFormat | JsonFormat


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch of a time in UTC as Go writes it; ValueError."""
    if not text.endswith("Z"):
        raise ValueError(f"{text!r} is not a time in UTC")
    whole, _, fraction = text[:-1].partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


class LogReader:
    """The log of one container. NotSupported if its driver cannot be read."""

    def __init__(self, settings: LogSettings) -> None:
        if settings.driver not in ("local", "json-file"):
            raise NotSupported("configured logging driver does not support reading")
        self._path = settings.path
        self._format: LogFormat = LocalFormat() if settings.driver == "local" else JsonFormat()

    def read(
        self, *, since_ns: int = 0, until_ns: int = 0, tail: int | None = None
    ) -> Iterator[LogRecord]:
        """Records from ``since_ns`` to ``until_ns`` (0: no bound); of all there are only the last
        ``tail`` are looked at."""
        files = _open_all(self._path)
        try:
            starts = self._starts(files, tail)
            for file, place in starts:
                for record, _ in _records(self._format, file.fileno(), place):
                    if until_ns and record.time_ns > until_ns:
                        return
                    if record.time_ns >= since_ns:
                        yield record
        finally:
            for file in files:
                file.close()

    def _starts(self, files: list[IO[bytes]], tail: int | None) -> list[tuple[IO[bytes], Place]]:
        """Where to begin in which files, oldest first."""
        if tail is None:
            return [(file, Place(self._format.start, 0)) for file in reversed(files)]
        starts: list[tuple[IO[bytes], Place]] = []
        for file in files:
            if tail <= 0:
                break
            place, tail = _tail(self._format, file.fileno(), tail)
            starts.append((file, place))
        return starts[::-1]

    def follow(self, *, since_ns: int = 0, until_ns: int = 0, tail: int | None = None) -> Follower:
        """Read as :meth:`read` does, and then what is written from there on."""
        return Follower(self, self._path, self._format, since_ns, until_ns, tail)


def _tail(log_format: LogFormat, fd: int, wanted: int) -> tuple[Place, int]:
    """Where the last ``wanted`` lines of a file begin, and how many it lacks."""
    for offset, lines in log_format.backward(fd, log_format.end(fd)):
        if lines >= wanted:
            return Place(offset, lines - wanted), 0
        wanted -= lines
    return Place(log_format.start, 0), wanted


def _records(log_format: LogFormat, fd: int, place: Place) -> Iterator[tuple[LogRecord, int]]:
    """The records of a file from a place on, each with the offset to go on from."""
    skip = place.skip
    for records, after in log_format.forward(fd, place.offset):
        for record in records[skip:]:
            yield record, after
        skip = max(0, skip - len(records))


def _open_all(path: str) -> list[IO[bytes]]:
    """All files of a log, newest first. The compressed ones are unpacked into unnamed files."""
    files: list[IO[bytes]] = []
    number = 0
    while True:
        file = _open_one(f"{path}.{number}" if number else path)
        if file is None and number:
            return files
        if file is not None:
            files.append(file)
        number += 1


def _open_one(path: str) -> IO[bytes] | None:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        pass
    unpacked = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        with gzip.open(f"{path}.gz", "rb") as packed:
            shutil.copyfileobj(packed, unpacked)
    except FileNotFoundError:
        unpacked.close()
        return None
    except BaseException:
        unpacked.close()
        raise
    return unpacked


class Follower:
    """Follows one log across rotations.

    ``fileno()`` becomes readable when something may have been written; :meth:`read_available`
    then returns what there is. The first call returns what was there before. ``done`` tells that a
    record after ``until_ns`` was met. Close it after use.
    """

    def __init__(
        self,
        reader: LogReader,
        path: str,
        log_format: LogFormat,
        since_ns: int,
        until_ns: int,
        tail: int | None,
    ) -> None:
        self._path = path
        self._format = log_format
        self._since_ns = since_ns
        self._until_ns = until_ns
        self.done = False
        self._watch = watch_directory(os.path.dirname(path))
        files = _open_all(path)
        self._pending = reader._starts(files, tail)
        waiting = {id(file) for file, _ in self._pending}
        for file in files:
            if id(file) not in waiting and file is not files[0]:
                file.close()
        if files and id(files[0]) not in waiting:  # the newest is followed from its end
            self._pending.append((files[0], Place(log_format.end(files[0].fileno()), 0)))
        self._file: IO[bytes] | None = None
        self._place = Place(log_format.start, 0)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._watch.fd

    def close(self) -> None:
        for file, _ in self._pending:
            file.close()
        if self._file is not None:
            self._file.close()
        self._watch.close()

    def read_available(self, limit: int = 10_000) -> list[LogRecord]:
        """What can be read now, at most about ``limit`` records; call again while it is not
        empty."""
        self._watch.forget()
        records: list[LogRecord] = []
        while not self.done and len(records) < limit:
            if self._file is None and not self._next_file():
                break
            before = len(records)
            self._read_file(records, limit)
            if len(records) == before and not self._left_behind():
                break
        return records

    def _next_file(self) -> bool:
        if not self._pending:
            file = _open_one(self._path)
            if file is None:
                return False
            self._pending.append((file, Place(self._format.start, 0)))
        self._file, self._place = self._pending.pop(0)
        return True

    def _read_file(self, records: list[LogRecord], limit: int) -> None:
        if self._file is None:
            return
        fd = self._file.fileno()
        if os.fstat(fd).st_size < self._place.offset:  # cut by a log of one file
            self._place = Place(self._format.start, 0)
        offset = max(self._place.offset, self._format.start)
        skip = self._place.skip
        for found, after in self._format.forward(fd, offset):
            self._take(found[skip:], records)
            offset, skip = after, 0
            if self.done or len(records) >= limit:
                break
        self._place = Place(offset, skip)

    def _take(self, found: list[LogRecord], records: list[LogRecord]) -> None:
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
        mine = os.fstat(self._file.fileno())
        if not self._pending:
            newer = self._newer_than(mine.st_ino)
            if newer is None:
                return False
            if self._unread():
                newer.close()
                return True
            self._pending.append((newer, Place(self._format.start, 0)))
        self._file.close()
        self._file = None
        return True

    def _unread(self) -> bool:
        """Whether something was appended between the last read and the rotation."""
        if self._file is None:
            return False
        return next(self._format.forward(self._file.fileno(), self._place.offset), None) is not None

    def _newer_than(self, inode: int) -> IO[bytes] | None:
        """The oldest file that is newer than the one of that inode; None if that is the newest.

        A file that is compressed meanwhile has another inode: then the newest is taken.
        """
        newer: IO[bytes] | None = None
        number = 0
        while file := _open_plain(f"{self._path}.{number}" if number else self._path):
            if os.fstat(file.fileno()).st_ino == inode:
                file.close()
                return newer
            if newer is not None:
                newer.close()
            newer = file
            number += 1
        return self._newest(newer)

    def _newest(self, other: IO[bytes] | None) -> IO[bytes] | None:
        if other is not None:
            other.close()
        return _open_plain(self._path)


def _open_plain(path: str) -> IO[bytes] | None:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        return None
