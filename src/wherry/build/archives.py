"""Tell archives from other files by their first bytes."""

from __future__ import annotations

from wherry.fs.compress import kind_of
from wherry.fs.tar.entry import BLOCK

_CHECKSUM = slice(148, 156)


def is_archive(start: bytes) -> bool:
    """Whether a file that starts so is a tar archive, or compressed (and then probably one)."""
    return kind_of(start[:6]) != "none" or is_tar(start)


def is_tar(start: bytes) -> bool:
    """Whether the first block is a tar header (its checksum fits), or all zeros: an empty one."""
    block = start[:BLOCK]
    if len(block) < BLOCK:
        return False
    if not any(block):
        return True
    field = block[_CHECKSUM].strip(b"\0 ")
    if not field or not all(digit in b"01234567" for digit in field):
        return False
    return int(field, 8) == sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
