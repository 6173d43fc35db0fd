"""Layers' blobs: read with a count, written compressed."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

try:
    from isal import isal_zlib

    _zlib: Any = isal_zlib
    _LEVEL = 2
except ImportError:  # processors that isal does not know
    _zlib = zlib
    _LEVEL = 6

_GZIP_WBITS = 31  # zlib.h: 15 bits of window, with a gzip header (no name, no time)


class Watched(io.RawIOBase):
    """A stream that reports how many bytes were read from it so far."""

    def __init__(self, stream: BinaryIO, watch: Callable[[int], None]) -> None:
        super().__init__()
        self._stream = stream
        self._watch = watch
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._count += len(data)
        self._watch(self._count)
        return len(data)


def compress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Gzip, without name and time, so that equal content stays equal."""
    packer = _zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()
