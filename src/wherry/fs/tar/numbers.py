"""Numbers in tar headers: octal text, or base 256 where octal is too short (GNU, star)."""

from __future__ import annotations

from wherry.fs.tar.entry import BadArchive


def decode(field: bytes, what: str) -> int:
    """The number in a header field; an empty one is 0. BadArchive names ``what`` it was for."""
    text = field.rstrip(b"\0 ")
    if text.isdigit():
        return _octal(text, field, what)
    if field and field[0] & 0x80:
        return _base256(field)
    return _octal(field.partition(b"\0")[0].strip(), field, what)


def _octal(text: bytes, field: bytes, what: str) -> int:
    try:
        value = int(text, 8) if text else 0
    except ValueError:
        value = -1
    if value < 0 or (text and not text.isdigit()):  # int() takes "0o7", "+7" and "7_7"
        raise BadArchive(f"the archive has a malformed number for {what}: {field!r}")
    return value


def _base256(field: bytes) -> int:
    value = int.from_bytes(field, "big")
    bits = 8 * len(field)
    if field[0] & 0x40:  # the number is negative, in two's complement
        return value - (1 << bits)
    return value & ~(0x80 << (bits - 8))
