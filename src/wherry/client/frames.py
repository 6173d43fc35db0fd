"""Streams without a terminal carry output in frames.

A frame is a header of 8 bytes (stream number, three zeros, length as a big-endian 32-bit number)
and the bytes (Engine API, operation ContainerAttach, "Stream format").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wherry.errors import InternalError

STDIN, STDOUT, STDERR, SYSTEM = 0, 1, 2, 3
_HEADER = 8

Frame = tuple[int, bytes]


class Demultiplexer:
    """Takes bytes as they come and gives the pieces of each stream, without waiting for more."""

    def __init__(self) -> None:
        self._head = b""
        self._kind = STDOUT
        self._missing = 0  # bytes of the present frame

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The pieces in ``data``: (stream, bytes). A frame may come in several pieces."""
        while data:
            if not self._missing:
                data = self._read_head(data)
                continue
            piece, data = data[: self._missing], data[self._missing :]
            self._missing -= len(piece)
            yield self._kind, piece

    def _read_head(self, data: bytes) -> bytes:
        wanted = _HEADER - len(self._head)
        self._head += data[:wanted]
        if len(self._head) == _HEADER:
            self._kind = self._head[0]
            if self._kind > SYSTEM or self._head[1:4] != b"\0\0\0":
                raise InternalError("the engine sent a stream that is not in frames")
            self._missing = int.from_bytes(self._head[4:], "big")
            self._head = b""
        return data[wanted:]


def frames(chunks: Iterable[bytes], *, tty: bool) -> Iterator[Frame]:
    """The pieces of each stream; with a terminal, everything is standard output."""
    if tty:
        yield from ((STDOUT, chunk) for chunk in chunks)
        return
    demultiplexer = Demultiplexer()
    for chunk in chunks:
        yield from demultiplexer.feed(chunk)
