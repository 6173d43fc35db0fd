"""What a logging service gets: single lines, or pieces of very long ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from wherry.runtime.logs import formats


class Piece(NamedTuple):
    """Which part of a long line a message is; all parts of one have its ``id``."""

    id: str
    ordinal: int  # from 1
    last: bool


class Message(NamedTuple):
    """A line without its newline. ``stream`` is 1 (output) or 2 (errors)."""

    stream: int
    time_ns: int
    line: bytes
    piece: Piece | None = None

    @property
    def text(self) -> str:
        """The line as UTF-8; what is none becomes U+FFFD."""
        return self.line.decode("utf-8", "replace")


class Messages:
    """Takes records of the ``local`` format apart. Remembers which lines are open."""

    def __init__(self) -> None:
        self._open: dict[int, Piece] = {}

    def of_record(self, record: bytes) -> Iterator[Message]:
        """The messages of one record (docs/formats/logs.md)."""
        size, flags, time_ns = formats.HEADER.unpack_from(record)
        data = record[formats.HEADER.size : formats.HEADER.size + size]
        stream = flags & formats.STREAM_MASK
        partial = bool(flags & formats.PARTIAL)
        for number, line in enumerate(formats.split_lines(data)):
            piece = self._piece(stream, partial)
            yield Message(stream, time_ns + number, line.removesuffix(b"\n"), piece)

    def _piece(self, stream: int, partial: bool) -> Piece | None:
        before = self._open.pop(stream, None)
        if before is None and not partial:
            return None
        name = before.id if before else os.urandom(32).hex()
        piece = Piece(name, before.ordinal + 1 if before else 1, not partial)
        if partial:
            self._open[stream] = piece
        return piece
