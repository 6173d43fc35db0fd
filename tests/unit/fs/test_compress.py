from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import threading
from collections.abc import Callable

import pytest
import zstandard

from wherry.fs.compress import Decompressed
from wherry.fs.streams import Ahead, HashingStream, IteratorStream, batched, read_all
from wherry.fs.tar.entry import BadArchive

DATA = os.urandom(100_000) + b"compressible " * 10_000
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "none": bytes,
}


class Dribble(io.BytesIO):
    """Gives a few bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 997))


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_every_compression_is_recognised(kind: str) -> None:
    stream = Decompressed(Dribble(COMPRESSORS[kind](DATA)))
    assert stream.kind == kind
    assert b"".join(iter(lambda: stream.read(65536), b"")) == DATA


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_streams_one_after_the_other(kind: str) -> None:
    compress = COMPRESSORS[kind]
    stream = Decompressed(io.BytesIO(compress(b"one ") + compress(b"two")))
    assert b"".join(iter(lambda: stream.read(65536), b"")) == b"one two"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_damage_is_a_sentence(kind: str) -> None:
    damaged = bytearray(COMPRESSORS[kind](DATA))
    damaged[len(damaged) // 3 : len(damaged) // 3 + 50] = bytes(50)
    with pytest.raises(BadArchive, match=f"the {kind} stream is damaged"):
        read_all(Decompressed(io.BytesIO(bytes(damaged))), lambda data: None)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_truncation_is_a_sentence(kind: str) -> None:
    half = COMPRESSORS[kind](DATA)[:-20]
    with pytest.raises(BadArchive, match=f"the {kind} stream is damaged"):
        read_all(Decompressed(io.BytesIO(half)), lambda data: None)


def test_bombs_are_refused() -> None:
    bomb = zstandard.compress(bytes(100_000_000))
    with pytest.raises(BadArchive, match="more than 2000 times its size"):
        read_all(Decompressed(io.BytesIO(bomb)), lambda data: None)
    with pytest.raises(BadArchive, match="more than 1000000 bytes"):
        read_all(Decompressed(io.BytesIO(bomb), max_bytes=1_000_000), lambda data: None)


def test_reading_ahead_gives_the_same_bytes() -> None:
    hashing = HashingStream(Dribble(DATA))
    parts: list[bytes] = []
    with Ahead(hashing, chunk=5000) as ahead:
        while data := ahead.read(777):
            parts.append(bytes(data))
        assert not ahead.read(1)
    assert b"".join(parts) == DATA
    assert (hashing.size, hashing.digest) == (
        len(DATA),
        "sha256:" + hashlib.sha256(DATA).hexdigest(),
    )


def test_errors_come_out_where_it_is_read() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("gone")

    with Ahead(Broken()) as ahead, pytest.raises(ConnectionResetError):
        ahead.read(1)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    with Ahead(io.BytesIO(DATA), chunk=10) as ahead:
        ahead.read(5)
    assert threading.active_count() == before


def test_iterators_as_streams_and_batches() -> None:
    stream = IteratorStream(iter([b"ab", b"", b"cde"]))
    assert [bytes(stream.read(2)) for _ in range(4)] == [b"ab", b"cd", b"e", b""]
    assert list(batched(iter([b"a", b"bc", b"d", b"e"]), 3)) == [b"abc", b"de"]
