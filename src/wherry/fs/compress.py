"""Compressed streams: recognised by their first bytes, unpacked within limits."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, cast

import zstandard

from wherry.fs.streams import CHUNK, Readable
from wherry.fs.tar.entry import BadArchive

try:
    from isal import igzip, isal_zlib

    _open_gzip: Callable[..., Any] = igzip.IGzipFile
    _GZIP_ERRORS: tuple[type[Exception], ...] = (
        igzip.BadGzipFile,
        cast(type[Exception], isal_zlib.error),
    )
except ImportError:  # no wheel for this processor
    _open_gzip = gzip.GzipFile
    _GZIP_ERRORS = (gzip.BadGzipFile, zlib.error)

_ERRORS: tuple[type[Exception], ...] = (
    *_GZIP_ERRORS,
    zstandard.ZstdError,
    lzma.LZMAError,
    EOFError,
)
_ZSTD_WINDOW = 128 * 1024 * 1024  # what `zstd --long` makes, and as much memory as it may take
_XZ_MEMORY = 256 * 1024 * 1024
_RATIO_FROM = 64 * 1024 * 1024  # bytes; small streams of zeros are harmless


class Counting(io.RawIOBase):
    """A stream with the bytes that were looked at put back, which counts what is read."""

    def __init__(self, stream: Readable, head: bytes) -> None:
        self._stream = stream
        self._head = head
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = CHUNK, /) -> bytes:
        """As the stream has them: the base class would copy them twice."""
        data = self._head[:size] or self._stream.read(size)
        if self._head:
            self._head = self._head[len(data) :]
        self.count += len(data)
        return data if isinstance(data, bytes) else bytes(data)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Decompressed:
    """The content of a stream that may be compressed; reading it may raise BadArchive.

    ``kind`` is ``gzip``, ``zstd``, ``bzip2``, ``xz`` or ``none``; ``is_empty`` if there is not one
    byte. A zstd stream that ends too early just ends; the digest of the content, or the archive in
    it, tells.
    """

    def __init__(
        self, stream: Readable, *, max_bytes: int | None = None, max_ratio: int | None = 2000
    ) -> None:
        """``max_bytes``: how much may come out. ``max_ratio``: how many times as much as went in,
        from 64 MiB on; deflate itself reaches 1032."""
        head = _head(stream)
        self.kind = kind_of(head)
        self.is_empty = not head
        self._raw = Counting(stream, head)
        self._out = _OPENERS[self.kind](self._raw)
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._count = 0

    def read(self, size: int = CHUNK, /) -> bytes:
        try:
            data = cast(bytes, self._out.read(size))
        except _ERRORS as error:
            raise BadArchive(f"the {self.kind} stream is damaged: {error}") from error
        self._count += len(data)
        self._check_limits()
        return data

    def _check_limits(self) -> None:
        if self._max_bytes is not None and self._count > self._max_bytes:
            raise BadArchive(f"the {self.kind} stream unpacks to more than {self._max_bytes} bytes")
        if self._max_ratio is None or self._count < _RATIO_FROM:
            return
        if self._count > self._max_ratio * self._raw.count:
            raise BadArchive(
                f"the {self.kind} stream unpacks to more than {self._max_ratio} times its size"
            )


def _head(stream: Readable) -> bytes:
    head = b""
    while len(head) < 6 and (more := stream.read(6 - len(head))):
        head += bytes(more)
    return head


def kind_of(head: bytes) -> str:
    """What the first six bytes of a stream tell about its compression."""
    for magic, kind in (
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
    ):
        if head.startswith(magic):
            return kind
    if head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"  # a skippable frame comes first
    return "none"


def _open_zstd(raw: Counting) -> Any:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    return decompressor.stream_reader(cast(Any, raw), read_size=CHUNK // 4, read_across_frames=True)


class _Pieces:
    """bz2 and lzma decompressors, fed piece by piece; the file objects around them have no limit
    of memory, and make a damaged stream look like a failed device."""

    def __init__(self, raw: Counting, new: Callable[[], Any]) -> None:
        self._raw = raw
        self._new = new
        self._decompressor = new()
        self._input = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._decompressor.eof and not self._next_stream():
                return b""
            if not self._input and self._decompressor.needs_input:
                self._input = self._raw.read(CHUNK // 4) or b""
                if not self._input:
                    raise EOFError("it ends too early")
            if out := self._decompress(size):
                return out

    def _decompress(self, size: int) -> bytes:
        data, self._input = self._input, b""
        try:
            return cast(bytes, self._decompressor.decompress(data, size))
        except OSError as error:  # what bz2 raises
            raise EOFError(str(error)) from error

    def _next_stream(self) -> bool:
        """Streams may be put one after the other."""
        self._input = self._decompressor.unused_data or self._raw.read(CHUNK // 4) or b""
        self._decompressor = self._new()
        return bool(self._input.strip(b"\0"))


_OPENERS: dict[str, Callable[[Counting], Any]] = {
    "none": lambda raw: raw,
    "gzip": lambda raw: _open_gzip(fileobj=io.BufferedReader(raw, CHUNK // 4), mode="rb"),
    "zstd": _open_zstd,
    "bzip2": lambda raw: _Pieces(raw, bz2.BZ2Decompressor),
    "xz": lambda raw: _Pieces(raw, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
}
