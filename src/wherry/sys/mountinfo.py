"""What the kernel tells of mounts in ``/proc/PID/mountinfo`` (proc(5))."""

from __future__ import annotations


def unescaped(field: str) -> str:
    """A path as it is, of a field where a space and the like are a backslash and three octal
    digits."""
    first, *rest = field.split("\\")
    return first + "".join(chr(int(piece[:3], 8)) + piece[3:] for piece in rest)
