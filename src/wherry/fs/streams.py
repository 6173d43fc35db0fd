"""Streams of bytes between those who make them and those who use them."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from wherry.model.digest import Digest

CHUNK = 1024 * 1024
_AHEAD = 4  # chunks


class Readable(Protocol):
    """Anything with ``read``; fewer bytes than asked for are fine, none mean the end."""

    def read(self, size: int, /) -> bytes | memoryview: ...


class IteratorStream:
    """What an iterator yields as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = CHUNK, /) -> memoryview:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest = memoryview(chunk)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class HashingStream:
    """Passes a stream through, and knows how long it was and what its sha256 is."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = CHUNK, /) -> bytes | memoryview:
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        """Of what was read so far."""
        return Digest("sha256:" + self._hash.hexdigest())


class Ahead:
    """Reads a stream in a thread of its own, a few chunks ahead.

    What the stream costs (decompression, hashing: both without the interpreter's lock) then
    overlaps with what is done with it. A context that ends the thread. Errors of the stream come
    out of :meth:`read`.
    """

    def __init__(self, stream: Readable, chunk: int = CHUNK) -> None:
        self._stream = stream
        self._chunk = chunk
        self._queue: queue.Queue[bytes | memoryview | BaseException] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._rest = memoryview(b"")
        self._end = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                data = self._stream.read(self._chunk)
                self._queue.put(data)
                if not data:
                    return
        except BaseException as error:  # noqa: BLE001  it goes to the reader
            self._queue.put(error)

    def read(self, size: int = CHUNK, /) -> memoryview:
        if not self._rest and not self._end:
            item = self._queue.get()
            if isinstance(item, BaseException):
                self._end = True
                raise item
            self._rest = memoryview(item)
            self._end = not item
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def close(self) -> None:
        """End the thread; what it holds is dropped. Waits for a read that is under way."""
        self._stop.set()
        self._end = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.02)
            except queue.Empty:
                continue

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batched(chunks: Iterator[bytes], size: int = CHUNK) -> Iterator[bytes]:
    """The same bytes in chunks of at least ``size``, but for the last."""
    parts: list[bytes] = []
    length = 0
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(parts)
            parts, length = [], 0
    if parts:
        yield b"".join(parts)


def read_all(stream: Readable, sink: Callable[[bytes | memoryview], object]) -> int:
    """Give all of a stream to ``sink``; how many bytes there were."""
    total = 0
    while data := stream.read(CHUNK):
        sink(data)
        total += len(data)
    return total
