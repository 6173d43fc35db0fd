"""What an archive says about one of its members."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from wherry.errors import DataCorrupt

BLOCK = 512
"""Headers and contents are padded to this many bytes."""

NO_XATTRS: dict[str, bytes] = {}


class BadArchive(DataCorrupt):
    """An archive that is damaged, or that asks for something no honest archive asks for."""


class Kind(IntEnum):
    FILE = 0
    HARDLINK = 1
    SYMLINK = 2
    CHARACTER = 3
    BLOCK = 4
    DIRECTORY = 5
    FIFO = 6


class Entry(msgspec.Struct, frozen=True):
    """One member. Bytes in names that are no UTF-8 are surrogate escapes, as in ``os`` functions.

    ``size`` is that of the file as it will be, in bytes; an archive stores less of a sparse one:
    the pieces in ``sparse``, each an offset and a length.
    """

    name: str
    kind: Kind
    mode: int = 0o644  # permission bits and set-id bits only
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0  # since the epoch, may be negative
    target: str = ""  # of a link
    device: tuple[int, int] = (0, 0)  # major, minor
    xattrs: dict[str, bytes] = NO_XATTRS
    sparse: tuple[tuple[int, int], ...] | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader puts up with before it calls an archive hostile."""

    name: int = 4096  # bytes in a name or a link's target, PATH_MAX
    depth: int = 256  # directories in a name
    header: int = 1024 * 1024  # bytes in all extended headers of one entry
    entries: int = 10_000_000
    pieces: int = 1_000_000  # in one sparse file
    size: int = 1 << 44  # bytes of one file, holes included
    total: int = 1 << 46  # bytes of all files, holes included


DEFAULT_LIMITS = Limits()
