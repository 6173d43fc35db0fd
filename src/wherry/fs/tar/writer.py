"""Write tar headers: ustar, with a pax header where ustar cannot hold a value.

The bytes depend on the entry alone, so that the same tree gives the same archive everywhere. Names
of users and groups are left out, times are whole seconds, and a name that is longer than its field
goes to the pax header and never into ustar's prefix.
"""

from __future__ import annotations

import os
import struct
import zlib

import msgspec

from wherry.fs.tar import pax
from wherry.fs.tar.entry import BLOCK, Entry, Kind

END = bytes(2 * BLOCK)
"""What ends an archive."""

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_NANO = 1_000_000_000
_MAX_8 = 0o7777777
_MAX_12 = 0o77777777777
_FLAGS = {kind: b"%d" % kind.value for kind in Kind}
_NO_DEVICE = b"0000000\0"


def header(entry: Entry) -> bytes:
    """The header blocks of an entry. Its content, if it is a file, and :func:`padding` follow: for
    one that is sparse, its pieces without what is between them."""
    if entry.sparse is not None:
        return _sparse(entry, entry.sparse)
    return _header(entry, [])


def stored_size(entry: Entry) -> int:
    """Bytes of content that follow the header blocks."""
    return entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)


def _sparse(entry: Entry, pieces: tuple[tuple[int, int], ...]) -> bytes:
    """Form 1.0 of sparse files in pax (GNU tar manual, "Storing Sparse Files"): the map comes in
    front of the content."""
    numbers = (len(pieces), *(number for piece in pieces for number in piece))
    listed = b"".join(b"%d\n" % number for number in numbers)
    listed += padding(len(listed))
    head, _, name = entry.name.rpartition("/")
    stored = msgspec.structs.replace(
        entry,
        name=f"{head or '.'}/GNUSparseFile.0/{name}",  # what readers see that know no such form
        size=len(listed) + stored_size(entry),
        sparse=None,
    )
    records = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", os.fsencode(entry.name)),
        ("GNU.sparse.realsize", b"%d" % entry.size),
    ]
    return _header(stored, records) + listed


def _header(entry: Entry, records: list[tuple[str, bytes]]) -> bytes:
    name = os.fsencode(entry.name)
    target = os.fsencode(entry.target) if entry.target else b""
    if not records and (tail := _TAILS.get(entry.kind)) and _is_plain(entry, name, target):
        return _plain_block(entry, name, tail)
    extended = records + _extended(entry, name, target)
    block = _block(
        name, _FLAGS[entry.kind], entry.mode, entry.uid, entry.gid, _size(entry),
        entry.mtime_ns // _NANO, target, entry.device,
    )  # fmt: skip
    if not extended:
        return block
    data = pax.encode(extended)
    title = b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2]
    return _block(title, b"x", 0o644, 0, 0, len(data), 0) + data + padding(len(data)) + block


def padding(size: int) -> bytes:
    """The zeros after ``size`` bytes of content."""
    return bytes(-size % BLOCK)


def _size(entry: Entry) -> int:
    return entry.size if entry.kind is Kind.FILE else 0


def _extended(entry: Entry, name: bytes, target: bytes) -> list[tuple[str, bytes]]:
    """The pax records an entry needs, sorted by key."""
    found: list[tuple[str, bytes]] = []
    if _is_plain(entry, name, target):
        return found
    seconds = entry.mtime_ns // _NANO
    for key, value, fits in (
        ("gid", entry.gid, entry.gid <= _MAX_8),
        ("linkpath", target, len(target) <= 100 and target.isascii()),
        ("mtime", seconds, 0 <= seconds <= _MAX_12),
        ("path", name, len(name) <= 100 and name.isascii()),
        ("size", _size(entry), entry.size <= _MAX_12),
        ("uid", entry.uid, entry.uid <= _MAX_8),
    ):
        if not fits:
            found.append((key, value if isinstance(value, bytes) else b"%d" % value))
    if entry.xattrs:
        found.extend((pax.XATTR + key, value) for key, value in entry.xattrs.items())
        found.sort()
    return found


def _is_plain(entry: Entry, name: bytes, target: bytes) -> bool:
    """All that there is to say fits into ustar's fields, as for most files."""
    return (
        not entry.xattrs
        and entry.uid <= _MAX_8
        and entry.gid <= _MAX_8
        and entry.size <= _MAX_12
        and 0 <= entry.mtime_ns <= _MAX_12 * _NANO
        and len(name) <= 100
        and len(target) <= 100
        and name.isascii()
        and target.isascii()
    )


def _plain_block(entry: Entry, name: bytes, tail: tuple[bytes, int]) -> bytes:
    """:func:`_block` of what has neither a target nor a device, which most entries are, quickly."""
    rest, rest_sum = tail
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(100, b"\0"), entry.mode, entry.uid, entry.gid, _size(entry),
        entry.mtime_ns // _NANO,
    )  # fmt: skip
    return b"%b%06o\0 %b" % (head, (zlib.adler32(head) & 0xFFFF) - 1 + rest_sum, rest)


def _block(
    name: bytes,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    block = bytearray(
        _HEADER.pack(
            name[:100],
            b"%07o\0" % mode,
            b"%07o\0" % (uid if uid <= _MAX_8 else 0),
            b"%07o\0" % (gid if gid <= _MAX_8 else 0),
            b"%011o\0" % (size if size <= _MAX_12 else 0),
            b"%011o\0" % (mtime if 0 <= mtime <= _MAX_12 else 0),
            b"        ",
            flag,
            target[:100],
            b"ustar\0",
            b"00",
            b"",
            b"",
            _device_field(device[0]),
            _device_field(device[1]),
            b"",
        )
    )
    block[148:156] = b"%06o\0 " % _sum(block)
    return bytes(block)


def _tail(kind: Kind) -> tuple[bytes, int]:
    """What follows the checksum in the header of a plain entry, and the sum of all its bytes and
    of the blanks that stand for the checksum itself."""
    tail = _block(b"", _FLAGS[kind], 0, 0, 0, 0, 0)[156:]
    return tail, sum(tail) + sum(b" " * 8)


def _sum(block: bytearray) -> int:
    """The sum of all bytes. Adler-32 begins with it plus one, modulo 65521, which half a block
    never reaches, and is many times faster than sum()."""
    return sum(zlib.adler32(block[half : half + 256]) & 0xFFFF for half in (0, 256)) - 2


def _device_field(number: int) -> bytes:
    if not number:
        return _NO_DEVICE
    if number <= _MAX_8:
        return b"%07o\0" % number
    return b"\x80" + number.to_bytes(7, "big")  # base 256; pax has no key for it


_TAILS = {kind: _tail(kind) for kind in (Kind.FILE, Kind.DIRECTORY)}
