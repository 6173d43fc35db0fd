"""Detach keys: a sequence typed on a terminal that leaves the container running.

Docker's syntax: keys joined by commas, each a single character or ``ctrl-`` and one of ``a-z``,
``@``, ``[``, ``\\``, ``]``, ``^`` and ``_``.
"""

from __future__ import annotations

from wherry.errors import InvalidArgument

DEFAULT_KEYS = "ctrl-p,ctrl-q"


class BadDetachKeys(InvalidArgument):
    """The sequence is not in Docker's syntax."""


def parse_keys(text: str) -> bytes:
    """The bytes a terminal sends for the sequence; an empty text is the default."""
    return bytes(_key(part) for part in (text or DEFAULT_KEYS).split(","))


def _key(part: str) -> int:
    if len(part) == 1 and part.isascii():
        return ord(part)
    prefix, _, key = part.partition("-")
    if prefix.lower() == "ctrl" and len(key) == 1:
        code = ord(key.upper())
        if 0x40 <= code <= 0x5F:  # @ A-Z [ \ ] ^ _
            return code & 0x1F
    raise BadDetachKeys(
        f"invalid detach keys: {part!r} is neither one character nor ctrl- with one of a-z@[\\]^_"
    )


class DetachFilter:
    """Holds back what may be the beginning of the sequence; ends the stream when it is whole."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def __call__(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence was completed (the rest is dropped then)."""
        out = bytearray()
        for byte in data:
            self._advance(byte, out)
            if self._matched == len(self._keys):
                return bytes(out), True
        return bytes(out), False

    def _advance(self, byte: int, out: bytearray) -> None:
        """Keep the longest beginning of the sequence that the input now ends with."""
        held = self._keys[: self._matched] + bytes((byte,))
        size = len(held)
        while size and held[len(held) - size :] != self._keys[:size]:
            size -= 1
        out += held[: len(held) - size]
        self._matched = size
