"""Log files read forward and backward, in both formats (docs/formats/logs.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import msgspec

from wherry.runtime.logs import formats
from wherry.runtime.logs.writer import sound_size

_BLOCK = 64 * 1024


class LogRecord(msgspec.Struct, frozen=True):
    """Lines of one stream (1 output, 2 errors) with their newlines, or a piece: a ``partial`` one
    goes on in the stream's next record."""

    time_ns: int
    stream: int
    data: bytes
    partial: bool


def single_lines(record: LogRecord) -> list[LogRecord]:
    """A record of several lines as one for each, a nanosecond apart: so a client can go on after
    the last line that it got."""
    lines = formats.split_lines(record.data)
    if len(lines) < 2:
        return [record]
    last = len(lines) - 1
    return [
        LogRecord(record.time_ns + number, record.stream, line, record.partial and number == last)
        for number, line in enumerate(lines)
    ]


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
            offset += size + rest
            yield [LogRecord(time_ns, flags & formats.STREAM_MASK, body[:length], partial)], offset

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
            yield end, sum(len(formats.split_lines(record.data)) for record in records)


class JsonFormat:
    """Docker's lines in an open file. ``joined``: those of one stream that follow one another are
    given as one record, with the first one's time."""

    start = 0
    _decoder = msgspec.json.Decoder(_JsonLine)

    def __init__(self, *, joined: bool = False) -> None:
        self._joined = joined

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
            data = rest + block
            cut = data.rfind(b"\n") + 1
            if cut:
                offset += cut
                yield list(self._records(data[:cut])), offset
            rest = data[cut:]

    def _records(self, data: bytes) -> Iterator[LogRecord]:
        lines = self._lines(data)
        if not self._joined:
            for line in lines:
                yield from _json_record(line, line.log)
            return
        for _, group in groupby(lines, attrgetter("stream")):
            first, *others = group
            yield from _json_record(first, "".join([first.log, *[line.log for line in others]]))

    def _lines(self, data: bytes) -> list[_JsonLine]:
        try:
            return self._decoder.decode_lines(data)
        except msgspec.DecodeError:
            return [found for line in data.split(b"\n") for found in self._line(line)]

    def _line(self, line: bytes) -> list[_JsonLine]:
        try:
            return [self._decoder.decode(line)]
        except msgspec.DecodeError:
            return []

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


def _json_record(line: _JsonLine, text: str) -> list[LogRecord]:
    try:
        time_ns = parse_rfc3339(line.time)
    except ValueError:
        return []
    data = text.encode()
    return [LogRecord(time_ns, 2 if line.stream == "stderr" else 1, data, data[-1:] != b"\n")]


LogFormat = LocalFormat | JsonFormat


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch of a time in UTC as Go writes it; ValueError."""
    if not text.endswith("Z"):
        raise ValueError(f"{text!r} is not a time in UTC")
    whole, _, fraction = text[:-1].partition(".")
    return _seconds(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


@lru_cache(16)  # what was printed together has the same second
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp())
