"""Telling ext4 that what is made in a directory has nothing to do with each other.

ext4 puts a new directory near its parent, and will not reuse an inode for some time after it was
deleted: it steps over each of them, one by one (``recently_deleted()`` in its ``ialloc.c``). Where
containers come and go by the hundred, that is most of the time of making one. The attribute ``T``
(chattr(1), "top of directory hierarchies") has new directories spread over the whole disk instead.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_TOPDIR = 0x00020000
_FLAGS = struct.Struct("l")


def spread_directories(path: str) -> None:
    """Set the attribute ``T`` on a directory, where its file system has such attributes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # another file system than ext4: it has no such habit
            flags = _flags(descriptor)
            fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, _FLAGS.pack(flags | _TOPDIR))
    finally:
        os.close(descriptor)


def is_spread(path: str) -> bool:
    """Whether the attribute is set."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return bool(_flags(descriptor) & _TOPDIR)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _flags(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(_FLAGS.size))
    return int(_FLAGS.unpack(answer)[0])
