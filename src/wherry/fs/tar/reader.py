"""Read a tar stream once, from front to back, trusting nothing in it.

Understands ustar and pax (POSIX.1-2017, pax), GNU tar's long names, base-256 numbers and sparse
files in all four forms (GNU tar manual, "Basic Tar Format" and "Storing Sparse Files").
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

from wherry.fs.tar import numbers, pax
from wherry.fs.tar.entry import BLOCK, DEFAULT_LIMITS, NO_XATTRS, BadArchive, Entry, Kind, Limits
from wherry.fs.tar.sparse import SparseMaps, check_pieces

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
_ZERO_BLOCK = bytes(BLOCK)
_BLANK = sum(b"        ")
_ENCODING, _ESCAPE = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_CHUNK = 1024 * 1024
_NANO = 1_000_000_000
_MAX_TIME = _NANO << 40  # far beyond what any file system keeps
_MAX_ID = 0xFFFFFFFE  # the next one means "leave it" to chown(2)
_MAX_DEVICE = 0xFFFFFF

_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,  # contiguous; nobody makes a difference
    b"S": Kind.FILE,  # GNU sparse
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_PLAIN = {b"0": Kind.FILE, b"5": Kind.DIRECTORY}
_SKIPPED = frozenset({b"V"})  # a volume's label


class Readable(Protocol):
    """Anything with ``read``; fewer bytes than asked for are fine, none mean the end."""

    def read(self, size: int, /) -> bytes | memoryview: ...


class _Source:
    """Bytes of a stream by count, handed out without copying where they lie in one chunk."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._chunk = memoryview(b"")
        self._at = 0  # what stands before it in _chunk was taken

    def some(self, limit: int) -> memoryview:
        """Between one and ``limit`` bytes; none at the end of the stream."""
        if self._at == len(self._chunk):
            self._chunk, self._at = memoryview(self._stream.read(_CHUNK)), 0
        piece = self._chunk[self._at : self._at + limit]
        self._at += len(piece)
        return piece

    def at_hand(self, count: int) -> memoryview | None:
        """``count`` bytes if they are there without reading on."""
        end = self._at + count
        if end > len(self._chunk):
            return None
        piece = self._chunk[self._at : end]
        self._at = end
        return piece

    def exactly(self, count: int) -> bytes:
        """``count`` bytes; fewer only at the end of the stream."""
        whole = self.at_hand(count)
        if whole is not None:
            return bytes(whole)
        parts: list[bytes] = []
        missing = count
        while missing and (piece := self.some(missing)):
            parts.append(bytes(piece))
            missing -= len(piece)
        return b"".join(parts)

    def block(self, after: int) -> bytes:
        """The block ``after`` so many bytes; shorter only at the end of the stream."""
        start = self._at + after
        end = start + BLOCK
        if end <= len(self._chunk):
            self._at = end
            return bytes(self._chunk[start:end])
        self.skip(after)
        return self.exactly(BLOCK)

    def skip(self, count: int) -> None:
        if self._at + count <= len(self._chunk):
            self._at += count
            return
        while count:
            piece = self.some(count)
            if not piece:
                raise BadArchive("the archive ends in the middle of an entry")
            count -= len(piece)


class _Overrides:
    """What extended headers say about the entry that follows them."""

    __slots__ = ("bytes_read", "name", "numbers", "sparse", "target", "times", "xattrs")

    def __init__(self) -> None:
        self.bytes_read = 0
        self.name: str | None = None
        self.target: str | None = None
        self.numbers: dict[str, int] = {}
        self.times: int | None = None
        self.xattrs: dict[str, bytes] = {}
        self.sparse = SparseMaps()

    def take(self, key: str, value: bytes) -> None:
        if key == "path":
            self.name = os.fsdecode(value)
        elif key == "linkpath":
            self.target = os.fsdecode(value)
        elif key in ("size", "uid", "gid"):
            self.numbers[key] = pax.integer(key, value)
        elif key == "mtime":
            self.times = pax.time_ns(value)
        elif key.startswith(pax.XATTR):
            self.xattrs[key.removeprefix(pax.XATTR)] = value
        elif key.startswith("GNU.sparse."):
            self.sparse.take(key.removeprefix("GNU.sparse."), value)


class TarReader:
    """Iterate over the entries; between two steps :meth:`content` gives the current one's bytes.

    BadArchive, with one sentence that names the entry where there is one, for all that is wrong.
    After the last entry :meth:`drain` reads what is left of the stream.
    """

    def __init__(self, stream: Readable, limits: Limits = DEFAULT_LIMITS) -> None:
        self._source = _Source(stream)
        self._limits = limits
        self._globals: list[tuple[str, bytes]] = []
        self._unread = 0  # bytes of the current content that are still in the stream
        self._padding = 0
        self._entries = 0
        self._total = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """Go to the next entry, skipping what was not read; None at the end of the archive."""
        overrides: _Overrides | None = None
        while True:
            block = self._source.block(self._unread + self._padding)
            self._unread = self._padding = 0
            if not block or block == _ZERO_BLOCK:
                if overrides is not None:
                    raise BadArchive("the archive ends after an extended header")
                return None
            fields = self._fields(block)
            flag = fields[7]
            if overrides is None and (entry := self._plain(block, fields)) is not None:
                return entry
            if flag in b"xgLK":
                overrides = self._extend(overrides, flag, fields)
            elif flag in _SKIPPED:
                self._set_content(self._size(fields, None))
            else:
                return self._entry(block, fields, overrides)

    def _fields(self, block: bytes) -> tuple[bytes, ...]:
        if len(block) != BLOCK:
            raise BadArchive("the archive ends in the middle of a header")
        fields = _HEADER.unpack(block)
        if not _checksum_fits(block, fields[6]):
            raise BadArchive("the archive has a header with a wrong checksum, or is no tar archive")
        self._entries += 1
        if self._entries > self._limits.entries:
            raise BadArchive(f"the archive has more than {self._limits.entries} entries")
        return fields

    def _plain(self, block: bytes, fields: tuple[bytes, ...]) -> Entry | None:
        """The entry of a file or directory whose header alone says all of it, as of most; None if
        that is not so. Octal numbers cannot be out of bounds, and the names are short."""
        kind = _PLAIN.get(fields[7])
        if kind is None or self._globals or not block[100:148].isascii():
            return None
        name = _name(block, fields)
        size = numbers.decode(fields[4], "a size") if kind is Kind.FILE else 0
        if not name or len(name) > self._limits.name or size > self._limits.size:
            return None
        mode, uid, gid = _rights(block[100:124])
        self._unread, self._padding = size, -size % BLOCK
        self._account(name, size)
        return Entry(name, kind, mode, uid, gid, size, numbers.decode(fields[5], "a time") * _NANO)

    def _extend(
        self, overrides: _Overrides | None, flag: bytes, fields: tuple[bytes, ...]
    ) -> _Overrides:
        overrides = overrides or self._new_overrides()
        data = self._header_data(overrides, fields)
        if flag == b"L":
            overrides.name = os.fsdecode(data.partition(b"\0")[0])
        elif flag == b"K":
            overrides.target = os.fsdecode(data.partition(b"\0")[0])
        elif flag == b"x":
            for key, value in pax.records(data):
                overrides.take(key, value)
        else:
            self._globals = list(pax.records(data))
        return overrides

    def _new_overrides(self) -> _Overrides:
        overrides = _Overrides()
        for key, value in self._globals:
            overrides.take(key, value)
        return overrides

    def _header_data(self, overrides: _Overrides, fields: tuple[bytes, ...]) -> bytes:
        size = numbers.decode(fields[4], "the size of an extended header")
        overrides.bytes_read += size
        if not 0 <= size <= self._limits.header or overrides.bytes_read > self._limits.header:
            raise BadArchive(
                f"the archive has extended headers of more than {self._limits.header} bytes"
            )
        data = self._source.exactly(size)
        self._source.skip(-size % BLOCK)
        if len(data) != size:
            raise BadArchive("the archive ends in the middle of an extended header")
        return data

    def _entry(
        self, block: bytes, fields: tuple[bytes, ...], overrides: _Overrides | None
    ) -> Entry:
        if overrides is None and self._globals:
            overrides = self._new_overrides()
        name = self._name(block, fields, overrides)
        kind = _KINDS.get(fields[7])
        if kind is None:
            raise BadArchive(f"the archive's entry {name!r} has the unknown type {fields[7]!r}")
        if fields[7] == b"\0" and name.endswith("/"):
            kind = Kind.DIRECTORY  # as tar wrote them before POSIX
        stored = self._size(fields, overrides) if kind is Kind.FILE else 0
        self._set_content(stored)
        size, sparse = self._sparse(name, block, fields, overrides)
        self._account(name, size)
        return self._make(name, kind, size, sparse, fields, overrides)

    def _make(
        self,
        name: str,
        kind: Kind,
        size: int,
        sparse: tuple[tuple[int, int], ...] | None,
        fields: tuple[bytes, ...],
        overrides: _Overrides | None,
    ) -> Entry:
        target = overrides.target if overrides else None
        if target is None:
            target = _text(fields[8])
        given = overrides.numbers if overrides else {}
        mtime = overrides.times if overrides else None
        device = (0, 0)
        if kind is Kind.CHARACTER or kind is Kind.BLOCK:
            device = (_count(name, "device", fields[12]), _count(name, "device", fields[13]))
        entry = Entry(
            name,
            kind,
            numbers.decode(fields[1], "a mode") & 0o7777,
            given["uid"] if "uid" in given else _count(name, "uid", fields[2]),
            given["gid"] if "gid" in given else _count(name, "gid", fields[3]),
            size,
            numbers.decode(fields[5], "a time") * _NANO if mtime is None else mtime,
            target if kind in (Kind.HARDLINK, Kind.SYMLINK) else "",
            device,
            overrides.xattrs if overrides and overrides.xattrs else NO_XATTRS,
            sparse,
        )
        _check_values(entry, self._limits)
        return entry

    def _name(self, block: bytes, fields: tuple[bytes, ...], overrides: _Overrides | None) -> str:
        if overrides is not None:
            name = overrides.sparse.name or overrides.name
            if name is not None:
                return name
        return _name(block, fields)

    def _size(self, fields: tuple[bytes, ...], overrides: _Overrides | None) -> int:
        if overrides is not None and "size" in overrides.numbers:
            size = overrides.numbers["size"]
        else:
            size = numbers.decode(fields[4], "a size")
        if not 0 <= size <= self._limits.size:
            raise BadArchive(f"the archive has an entry of {size} bytes")
        return size

    def _set_content(self, stored: int) -> None:
        self._unread = stored
        self._padding = -stored % BLOCK

    def _sparse(
        self,
        name: str,
        block: bytes,
        fields: tuple[bytes, ...],
        overrides: _Overrides | None,
    ) -> tuple[int, tuple[tuple[int, int], ...] | None]:
        """The size of the file as it will be, and its pieces if it is sparse."""
        if fields[7] == b"S":
            maps = SparseMaps()
            maps.read_gnu(block, lambda: self._source.exactly(BLOCK), self._limits.pieces)
        elif overrides is not None and overrides.sparse.present:
            maps = overrides.sparse
            if maps.in_content:
                self._unread -= maps.read_content(self._map_block, self._limits.pieces)
        else:
            return self._unread, None
        check_pieces(name, maps.pieces, maps.size, self._unread, self._limits)
        return maps.size, tuple(maps.pieces)

    def _map_block(self) -> bytes:
        block = self._source.exactly(BLOCK)
        if len(block) != BLOCK:
            raise BadArchive("the archive ends in the middle of a sparse file's map")
        return block

    def _account(self, name: str, size: int) -> None:
        self._total += size
        if self._total > self._limits.total:
            raise BadArchive(
                f"the archive unpacks to more than {self._limits.total} bytes at {name!r}"
            )

    def content(self) -> Iterator[memoryview]:
        """The stored bytes of the current entry; of a sparse file its pieces one after another.

        A view is valid until the next step.
        """
        while self._unread:
            piece = self._source.some(self._unread)
            if not piece:
                raise BadArchive("the archive ends in the middle of an entry")
            self._unread -= len(piece)
            yield piece

    def buffered_content(self) -> memoryview | None:
        """The stored bytes of the current entry if they are at hand in one piece, and then they
        count as read; None if not. Spares small files the iteration."""
        piece = self._source.at_hand(self._unread)
        if piece is not None:
            self._unread = 0
        return piece

    def drain(self) -> None:
        """Read on to the end of the stream, whatever comes after the archive's end."""
        while self._source.some(_CHUNK):
            pass


def _text(field: bytes) -> str:
    """What os.fsdecode() gives, for each header several times."""
    if not field[0]:
        return ""
    return field.partition(b"\0")[0].decode(_ENCODING, _ESCAPE)


def _name(block: bytes, fields: tuple[bytes, ...]) -> str:
    name = _text(fields[0])
    if block[345] and block[257:263] == b"ustar\0":
        return f"{_text(fields[14])}/{name}"
    return name


@lru_cache(64)  # an archive has few different ones
def _rights(fields: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid."""
    return (
        numbers.decode(fields[:8], "a mode") & 0o7777,
        numbers.decode(fields[8:16], "uid"),
        numbers.decode(fields[16:], "gid"),
    )


def _count(name: str, what: str, field: bytes) -> int:
    value = numbers.decode(field, what)
    if value < 0:
        raise BadArchive(f"the archive's entry {name!r} has a negative {what}")
    return value


def _checksum_fits(block: bytes, field: bytes) -> bool:
    # Adler-32 begins with the sum of all bytes plus one, modulo 65521, and is many times faster
    # than sum(). The field itself counts as spaces.
    others = (zlib.adler32(block) & 0xFFFF) - (zlib.adler32(field) & 0xFFFF) + _BLANK
    if field == b"%06o\0 " % others:  # as nearly all write it
        return True
    try:
        expected = numbers.decode(field, "a checksum")
    except BadArchive:
        return False
    if (expected - others) % 65521 == 0:
        return True
    signed = struct.unpack("512b", block)  # what some old tars computed
    return bool(sum(signed) - sum(signed[148:156]) + _BLANK == expected)


def _check_values(entry: Entry, limits: Limits) -> None:
    for text in (entry.name, entry.target):
        if len(text) > limits.name or "\0" in text:
            raise BadArchive(f"the archive's entry {entry.name[:80]!r} has an impossible name")
    if not entry.name:
        raise BadArchive("the archive has an entry without a name")
    if entry.uid > _MAX_ID or entry.gid > _MAX_ID:
        raise BadArchive(f"the archive's entry {entry.name!r} has an impossible owner")
    if entry.device[0] > _MAX_DEVICE or entry.device[1] > _MAX_DEVICE:
        raise BadArchive(f"the archive's entry {entry.name!r} has an impossible device number")
    if abs(entry.mtime_ns) > _MAX_TIME:
        raise BadArchive(f"the archive's entry {entry.name!r} has an impossible time")
    if not entry.target and (entry.kind is Kind.HARDLINK or entry.kind is Kind.SYMLINK):
        raise BadArchive(f"the archive's link {entry.name!r} has no target")
