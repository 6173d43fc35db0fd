"""Extended headers: records of ``LENGTH KEY=VALUE\\n`` (POSIX.1-2017, pax, "pax Extended Header").

Keys beyond the standard: ``SCHILY.xattr.NAME`` holds an extended attribute, ``GNU.sparse.*``
describes a file with holes (GNU tar manual, "Storing Sparse Files").
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from wherry.fs.tar.entry import BadArchive

XATTR = "SCHILY.xattr."
_NANO = 1_000_000_000


def records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The records of one extended header in their order; BadArchive if it is malformed."""
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        length = _decimal(data[position:space]) if space >= 0 else 0
        end = position + length
        if length <= space - position or end > len(data) or data[end - 1] != 0x0A:
            raise BadArchive("the archive has a malformed extended header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise BadArchive("the archive has an extended header without a key")
        yield os.fsdecode(key), value
        position = end


def _decimal(text: bytes) -> int:
    return int(text) if text.isdigit() else 0


def integer(key: str, value: bytes) -> int:
    """A number that is not negative."""
    if not value.isdigit() or len(value) > 20:
        raise BadArchive(f"the archive has a malformed number for {key}: {value[:40]!r}")
    return int(value)


def time_ns(value: bytes) -> int:
    """Seconds with an optional fraction, as nanoseconds; digits beyond those are cut off."""
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 12 or (fraction and not fraction.isdigit()):
        raise BadArchive(f"the archive has a malformed time: {value[:40]!r}")
    nanos = int(digits) * _NANO + int(fraction[:9].ljust(9, b"0") or b"0")
    return -nanos if negative else nanos


def encode(pairs: list[tuple[str, bytes]]) -> bytes:
    """The records of an extended header, in the order given."""
    return b"".join(_record(os.fsencode(key), value) for key, value in pairs)


def _record(key: bytes, value: bytes) -> bytes:
    bare = len(key) + len(value) + 3  # a space, an equals sign, a newline
    length = bare + len(str(bare))
    length = bare + len(str(length))  # the length counts itself, which may make it longer
    return b"%d %s=%s\n" % (length, key, value)
