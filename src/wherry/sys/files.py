"""Files: openat2(2), statfs(2), renameat2(2), inotify(7), close_range(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_uint32, c_uint64

from wherry.sys._libc import Path, check, encode, function, syscall

AT_FDCWD = -100

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# renameat2(2)
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

# close_range(2)
CLOSE_RANGE_CLOEXEC = 4
_MAX_FD = 0xFFFFFFFF

# statfs(2), include/uapi/linux/magic.h
PROC_SUPER_MAGIC = 0x9FA0
DEVPTS_SUPER_MAGIC = 0x1CD1
TMPFS_MAGIC = 0x01021994
OVERLAYFS_SUPER_MAGIC = 0x794C7630
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
NSFS_MAGIC = 0x6E736673
SYSFS_MAGIC = 0x62656572
MQUEUE_MAGIC = 0x19800202

# statx(2), struct statx: the mask of what was filled in, and far behind it the mount
_STATX_SIZE = 256
_STATX_MNT_ID = 0x1000
_STATX_MOUNT = struct.Struct("=I140xQ")
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_AT_EMPTY_PATH = 0x1000

# inotify(7)
IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_ONLYDIR = 0x01000000
IN_NONBLOCK = 0o4000
IN_CLOEXEC = 0o2000000

# renameat2 and openat2 are retried when another process renames at the same time.
_RETRIES = 128
_EVENT = struct.Struct("iIII")


class OpenHow(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = [
        ("flags", c_uint64),
        ("mode", c_uint64),
        ("resolve", c_uint64),
    ]


class StatFs(ctypes.Structure):
    """``struct statfs`` of 64-bit machines; only the type is of interest here."""

    _fields_ = [
        ("f_type", c_long),
        ("rest", c_uint32 * 28),
    ]


_openat2 = syscall("openat2", c_long, c_char_p, ctypes.POINTER(OpenHow), c_size_t)
_statx = syscall("statx", c_long, c_char_p, c_int, c_uint, c_char_p)
_renameat2 = syscall("renameat2", c_long, c_char_p, c_long, c_char_p, c_uint)
_close_range = syscall("close_range", c_uint, c_uint, c_uint)
_fstatfs = function("fstatfs", c_int, ctypes.POINTER(StatFs))
_inotify_init1 = function("inotify_init1", c_int)
_inotify_add_watch = function("inotify_add_watch", c_int, c_char_p, c_uint32)
_inotify_rm_watch = function("inotify_rm_watch", c_int, c_int)


def openat2(dirfd: int, path: Path, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), close-on-exec.

    EAGAIN, which the kernel gives when a rename elsewhere may have let ``..`` escape, is retried a
    bounded number of times.
    """
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = encode(path)
    for _ in range(_RETRIES):
        result = _openat2(dirfd, name, ctypes.byref(how), ctypes.sizeof(OpenHow))
        if result >= 0 or ctypes.get_errno() != 11:
            break
    return check(result, path)


def renameat2(olddirfd: int, old: Path, newdirfd: int, new: Path, flags: int = 0) -> None:
    """renameat2(2)."""
    check(_renameat2(olddirfd, encode(old), newdirfd, encode(new), flags), new)


def mount_id(dirfd: int, name: Path) -> int:
    """Which mount a name is on, itself not followed: statx(2), since Linux 5.8. An empty name is
    the descriptor itself. OSError EOPNOTSUPP from an older kernel."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT | _AT_EMPTY_PATH
    check(_statx(dirfd, encode(name), flags, _STATX_MNT_ID, buffer), name)
    mask, identifier = _STATX_MOUNT.unpack_from(buffer)
    if not mask & _STATX_MNT_ID:
        raise OSError(errno.EOPNOTSUPP, "this kernel does not tell what a file is mounted on", name)
    return int(identifier)


def close_range(first: int, last: int = _MAX_FD, flags: int = 0) -> None:
    """close_range(2). ``CLOSE_RANGE_CLOEXEC`` needs Linux 5.11."""
    check(_close_range(first, last, flags))


def filesystem_type(fd: int) -> int:
    """The magic number of the file system that a descriptor is on: fstatfs(2)."""
    buffer = StatFs()
    check(_fstatfs(fd, ctypes.byref(buffer)))
    return int(buffer.f_type)


def inotify_init1(flags: int = IN_NONBLOCK | IN_CLOEXEC) -> int:
    """inotify_init1(2)."""
    return check(_inotify_init1(flags))


def inotify_add_watch(fd: int, path: Path, mask: int) -> int:
    """inotify_add_watch(2): the watch descriptor."""
    return check(_inotify_add_watch(fd, encode(path), mask), path)


def inotify_rm_watch(fd: int, watch: int) -> None:
    """inotify_rm_watch(2)."""
    check(_inotify_rm_watch(fd, watch))


def inotify_events(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Take apart what was read from an inotify descriptor: (watch, mask, name)."""
    position = 0
    while position + _EVENT.size <= len(data):
        watch, mask, _, length = _EVENT.unpack_from(data, position)
        position += _EVENT.size
        name = data[position : position + length].rstrip(b"\0")
        position += length
        yield watch, mask, os.fsdecode(name)
