"""Layers' compression, read and written as streams."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from wherry.errors import DataCorrupt

try:
    from isal import igzip, isal_zlib

    _gunzip: Any = igzip.IGzipFile
    _zlib: Any = isal_zlib
    _LEVEL = 2
except ImportError:  # processors that isal does not know
    _gunzip = gzip.GzipFile
    _zlib = zlib
    _LEVEL = 6

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW = 128 * 1024 * 1024  # bytes; what the zstd program accepts without being asked
_BUFFER = 256 * 1024
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


@contextmanager
def decompressed(stream: BinaryIO, watch: Callable[[int], None]) -> Iterator[BinaryIO]:
    """The uncompressed content of a layer's blob, whatever its media type says; gzip and zstd are
    known by their first bytes. ``watch`` gets the number of compressed bytes read so far.

    DataCorrupt if the compressed data is damaged.
    """
    source = io.BufferedReader(Watched(stream, watch), _BUFFER)
    magic = source.peek(4)[:4]
    try:
        if magic.startswith(_GZIP):
            with _gunzip(fileobj=source) as plain:
                yield cast(BinaryIO, plain)
        elif magic == _ZSTD:
            yield _unzstd(source)
        else:
            yield cast(BinaryIO, source)
    except (EOFError, zlib.error, gzip.BadGzipFile, _zlib.error) as error:
        raise DataCorrupt(f"a layer's compressed data is damaged: {error}") from error


def _unzstd(source: BinaryIO) -> BinaryIO:
    import zstandard  # few layers need it, and it is not small

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    reader = decompressor.stream_reader(source, read_across_frames=True, closefd=False)
    return cast(BinaryIO, reader)


def compress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Gzip, without name and time, so that equal content stays equal."""
    packer = _zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()
