"""Bytes and values handed between the event loop and a thread, bounded in both directions."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from wherry.api.http.body import Body, ClientGone
from wherry.errors import WherryError

T = TypeVar("T")
_HELD = 1024 * 1024  # bytes of a body that a thread has not read yet
_ITEMS = 256


class BodyReader(io.RawIOBase):
    """A request's body as a blocking file for a thread; the loop fills it with :meth:`pump`."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()

    async def pump(self, body: Body) -> None:
        """Pass the whole body on; an error of the body becomes one of the reader."""
        try:
            while piece := await body.read_some():
                if not self._put(piece):
                    return
                await self._wait_for_room()
        except WherryError as error:
            self.fail(error)
        except asyncio.CancelledError:
            self.fail(ClientGone("the client closed the connection"))
            raise
        else:
            self._end(None)

    async def _wait_for_room(self) -> None:
        with self._condition:
            if self._held <= _HELD or self._ended:
                return
            self._room.clear()
        await self._room.wait()

    def _put(self, piece: bytes) -> bool:
        with self._condition:
            if self._ended:
                return False
            self._pieces.append(piece)
            self._held += len(piece)
            self._condition.notify()
            return True

    def fail(self, error: Exception) -> None:
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        with self._condition:
            self._ended = True
            self._error = self._error or error
            self._condition.notify()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, as they came, without a copy; none at the end. Of a negative size
        it is the whole body."""
        if size < 0:
            return self.readall()
        with self._condition:
            self._condition.wait_for(lambda: self._pieces or self._ended)
            if not self._pieces:
                if self._error is not None:
                    raise self._error
                return b""
            piece = self._pieces.popleft()
            if size < len(piece):
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            self._held -= len(piece)
            wake = self._held <= _HELD // 2
        if wake:
            self._wake_loop()
        return piece

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """The thread wants no more: the rest of the body is not read."""
        self._end(None)
        self._wake_loop()
        super().close()

    def _wake_loop(self) -> None:
        if not self._room.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)


class Channel(Generic[T]):
    """Values from a thread to the loop. ``put`` blocks while the loop is behind, and raises
    ClientGone when nobody listens any more, which ends the work it was called from."""

    def __init__(self, room: int = _ITEMS) -> None:
        """``room`` is for how many values that the loop has not taken yet."""
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._items: deque[T] = deque()
        self._room = room
        self._slots = threading.Semaphore(room)
        self._ready = asyncio.Event()
        self._ended = False
        self.abandoned = threading.Event()
        """Nobody listens any more."""

    def put(self, item: T) -> None:
        """From a thread."""
        self._slots.acquire()
        if self.abandoned.is_set():
            self._slots.release()
            raise ClientGone("the client closed the connection")
        with self._lock:
            first = not self._items
            self._items.append(item)
        if first:
            self._loop.call_soon_threadsafe(self._ready.set)

    def end(self) -> None:
        """From the loop: no more values will come."""
        self._ended = True
        self._ready.set()

    def abandon(self) -> None:
        """From the loop: nobody listens any more."""
        self.abandoned.set()
        self._slots.release(self._room)

    async def batches(self) -> AsyncIterator[list[T]]:
        """All values that are there, again and again, until the end."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            with self._lock:
                items = list(self._items)
                self._items.clear()
            if items:
                self._slots.release(len(items))
                yield items
            if self._ended:
                with self._lock:
                    left = bool(self._items)
                if not left:
                    return
                self._ready.set()


def buffered(reader: BodyReader) -> io.BufferedReader:
    return io.BufferedReader(reader, 128 * 1024)


Put = Callable[[T], None]
