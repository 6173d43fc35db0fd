"""Sockets that a monitor only holds, so that nobody else takes their ports."""

from __future__ import annotations

import socket

from wherry.runtime.api import HeldPort


def bound_to(fd: int) -> HeldPort | None:
    """What a socket is bound to; None if it is none of an internet protocol."""
    try:
        one = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        address = one.getsockname()
        if one.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        return HeldPort(int(one.type), one.proto, address[0], address[1])
    finally:
        one.detach()
