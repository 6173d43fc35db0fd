"""Numbers in tar headers: octal text, or base 256 where octal is too short (GNU, star)."""

from __future__ import annotations

from functools import lru_cache

from wherry.fs.tar.entry import BadArchive

_OCTAL = frozenset(b"01234567")


@lru_cache(256)  # headers of one archive have few different modes, owners and times
def decode(field: bytes, what: str) -> int:
    """The number in a header field; an empty one is 0. BadArchive names ``what`` it was for."""
    text = field.rstrip(b"\0 ")
    if text.isdigit():
        try:
            return int(text, 8)
        except ValueError:  # a digit above 7
            pass
    elif field and field[0] & 0x80:
        return _base256(field)
    text = field.partition(b"\0")[0].strip()
    if not text:
        return 0
    if not text.isdigit() or not set(text) <= _OCTAL:
        raise BadArchive(f"the archive has a malformed number for {what}: {field!r}")
    return int(text, 8)


def _base256(field: bytes) -> int:
    value = int.from_bytes(field, "big")
    bits = 8 * len(field)
    if field[0] & 0x40:  # the number is negative, in two's complement
        return value - (1 << bits)
    return value & ~(0x80 << (bits - 8))
