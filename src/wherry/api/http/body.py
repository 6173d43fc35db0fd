"""The body of a request: framing taken off, bounded buffering, back pressure."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Protocol

from wherry.api.http.head import BadRequest, Head
from wherry.errors import InvalidArgument

_BUFFERED = 256 * 1024  # bytes held for a handler that is slower than its client
_CHUNK_LINE = 4096  # the longest chunk-size line, extensions included
_TRAILERS = 16 * 1024
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class ClientGone(InvalidArgument):
    """The client closed its connection in the middle of a request."""


class Stalled(InvalidArgument):
    """The client stopped sending in the middle of a body."""


class TooLarge(InvalidArgument):
    """The body has more bytes than this request may have (413)."""


class Framing(Protocol):
    """Takes the transfer framing off what arrives. ``done`` once the whole body has come."""

    done: bool

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The payload in ``data``, and what follows the body; BadRequest."""
        ...


class LengthFraming:
    """A body of a known number of bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        payload, rest = data[: self._left], data[self._left :]
        self._left -= len(payload)
        self.done = self._left == 0
        return ([payload] if payload else []), rest


class ChunkedFraming:
    """The chunked transfer coding (RFC 9112, section 7.1); trailers are dropped."""

    def __init__(self) -> None:
        self.done = False
        self._held = b""
        self._at = 0  # what stands before it in _held was taken
        self._left = 0
        self._step: Callable[[list[bytes]], bool] = self._size_line
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        self._held = self._held[self._at :] + data
        self._at = 0
        payload: list[bytes] = []
        while not self.done and self._step(payload):
            pass
        return payload, self._held[self._at :] if self.done else b""

    def _line(self, limit: int) -> bytes | None:
        end = self._held.find(b"\r\n", self._at)
        if (len(self._held) if end < 0 else end) - self._at > limit:
            raise BadRequest("a line in the chunked body is too long")
        if end < 0:
            return None
        line = self._held[self._at : end]
        self._at = end + 2
        return line

    def _size_line(self, payload: list[bytes]) -> bool:
        line = self._line(_CHUNK_LINE)
        if line is None:
            return False
        size = line.partition(b";")[0].strip()
        if not _SIZE.fullmatch(size):
            raise BadRequest(f"malformed chunk size {size[:20]!r} in the request body")
        self._left = int(size, 16)
        self._step = self._chunk if self._left else self._trailer
        return True

    def _chunk(self, payload: list[bytes]) -> bool:
        piece = self._held[self._at : self._at + self._left]
        if not piece:
            return False
        payload.append(piece)
        self._at += len(piece)
        self._left -= len(piece)
        if not self._left:
            self._step = self._chunk_end
        return True

    def _chunk_end(self, payload: list[bytes]) -> bool:
        end = self._held[self._at : self._at + 2]
        if len(end) < 2:
            return False
        if end != b"\r\n":
            raise BadRequest("a chunk of the request body is longer than its size says")
        self._at += 2
        self._step = self._size_line
        return True

    def _trailer(self, payload: list[bytes]) -> bool:
        line = self._line(_TRAILERS)
        if line is None:
            return False
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > _TRAILERS:
            raise BadRequest("the trailers of the chunked body are too long")
        self.done = not line
        return True


def framing_of(head: Head) -> Framing:
    return ChunkedFraming() if head.chunked else LengthFraming(head.length)


class Body:
    """What a handler reads. ``flow`` is told to stop and to go on receiving from the client."""

    def __init__(
        self,
        framing: Framing,
        *,
        flow: Callable[[bool], None],
        on_first_read: Callable[[], None] | None = None,
        patience: float = 600.0,
    ) -> None:
        self._framing = framing
        self._flow = flow
        self._on_first_read = on_first_read
        self._patience = patience  # seconds without a byte
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._held = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """All of it has arrived, read or not."""
        return self._framing.done

    def feed(self, data: bytes) -> bytes:
        """Take what arrived; returns what follows the body."""
        pieces, rest = self._framing.feed(data)
        self._pieces.extend(pieces)
        self._buffered += sum(map(len, pieces))
        if self._buffered > _BUFFERED and not self._held:
            self._held = True
            self._flow(False)
        self._wake()
        return rest

    def fail(self, error: Exception) -> None:
        """No more will come: reads raise ``error`` once what is buffered was read."""
        if not self.complete:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read_some(self) -> bytes:
        """The next bytes, empty at the end. ClientGone, Stalled, BadRequest."""
        if self._on_first_read is not None:
            self._on_first_read()
            self._on_first_read = None
        while not self._pieces:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._arrival()
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._held and self._buffered <= _BUFFERED // 2:
            self._held = False
            self._flow(True)
        return piece

    async def _arrival(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._patience):
                await self._waiter
        except TimeoutError:
            raise Stalled(
                f"the request body stalled: nothing arrived for {self._patience:g} seconds"
            ) from None
        finally:
            self._waiter = None

    async def read_all(self, limit: int) -> bytes:
        """The whole body; TooLarge if it has more than ``limit`` bytes."""
        parts: list[bytes] = []
        size = 0
        while piece := await self.read_some():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the request body is larger than the {limit} bytes allowed here")
            parts.append(piece)
        return b"".join(parts)
