"""Messages that are longer than a packet: a program's arguments and environment may take 2 MiB
(execve(2)). They travel as a file in memory, whose descriptor is the last of the packet's."""

from __future__ import annotations

import os

from wherry.errors import InvalidArgument

LONGEST = 16 * 1024 * 1024
"""Bytes; JSON takes up to six for one of an argument."""


def enclose(data: bytes) -> int:
    """A file with the message, which the caller closes; InvalidArgument if it is too long."""
    if len(data) > LONGEST:
        raise InvalidArgument(f"a message of {len(data)} bytes is too long (at most {LONGEST})")
    fd = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def disclose(fd: int) -> bytes:
    """The message of a file, which is closed."""
    with open(fd, "rb", buffering=0) as file:
        size = os.fstat(fd).st_size
        if size > LONGEST:
            raise InvalidArgument(f"a message of {size} bytes is too long (at most {LONGEST})")
        return os.pread(file.fileno(), size, 0)
