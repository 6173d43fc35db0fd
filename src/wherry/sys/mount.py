"""Mounts: mount(2), umount2(2), pivot_root(2), and the newer calls that work on descriptors.

The newer calls are fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2) and
mount_setattr(2) (the last since Linux 5.12).
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64, c_ulong, c_void_p

from wherry.sys._libc import Path, check, encode, function, syscall

# mount(2), include/uapi/linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

# umount2(2)
MNT_FORCE = 1
MNT_DETACH = 2
MNT_EXPIRE = 4
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

# open_tree(2)
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000

# move_mount(2)
MOVE_MOUNT_F_SYMLINKS = 0x1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40

# fsopen(2), fsconfig(2), fsmount(2)
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_BINARY = 2
FSCONFIG_SET_PATH = 3
FSCONFIG_SET_PATH_EMPTY = 4
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7

# mount_setattr(2)
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000


class MountAttr(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = [
        ("attr_set", c_uint64),
        ("attr_clr", c_uint64),
        ("propagation", c_uint64),
        ("userns_fd", c_uint64),
    ]


_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = function("umount2", c_char_p, c_int)
_pivot_root = syscall("pivot_root", c_char_p, c_char_p)
_open_tree = syscall("open_tree", c_long, c_char_p, c_uint)
_move_mount = syscall("move_mount", c_long, c_char_p, c_long, c_char_p, c_uint)
_fsopen = syscall("fsopen", c_char_p, c_uint)
_fsconfig = syscall("fsconfig", c_long, c_uint, c_char_p, c_void_p, c_long)
_fsmount = syscall("fsmount", c_long, c_uint, c_uint)
_mount_setattr = syscall(
    "mount_setattr", c_long, c_char_p, c_uint, ctypes.POINTER(MountAttr), c_size_t
)


def mount(source: Path, target: Path, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Empty strings are passed as they are, except ``data``, which becomes NULL."""
    check(
        _mount(
            encode(source),
            encode(target),
            fstype.encode(),
            flags,
            encode(data) if data else None,
        ),
        target,
    )


def umount2(target: Path, flags: int = 0) -> None:
    """umount2(2)."""
    check(_umount2(encode(target), flags), target)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """pivot_root(2)."""
    check(_pivot_root(encode(new_root), encode(put_old)), new_root)


def open_tree(dirfd: int, path: Path, flags: int = 0) -> int:
    """open_tree(2), close-on-exec: a descriptor of a mount, or of a detached clone of it."""
    return check(_open_tree(dirfd, encode(path), flags | OPEN_TREE_CLOEXEC), path)


def move_mount(
    from_dirfd: int, from_path: Path, to_dirfd: int, to_path: Path, flags: int = 0
) -> None:
    """move_mount(2)."""
    result = _move_mount(from_dirfd, encode(from_path), to_dirfd, encode(to_path), flags)
    check(result, to_path or from_path)


def make_private(mount_fd: int) -> None:
    """Cut a detached mount off the one it was cloned from: nothing propagates from there
    (mount_namespaces(7), SHARED SUBTREES)."""
    mount_setattr(mount_fd, "", AT_EMPTY_PATH, propagation=MS_PRIVATE)


def attach(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount to what an O_PATH descriptor refers to: move_mount(2) without
    names."""
    move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def attach_at(mount_fd: int, path: Path) -> None:
    """Attach a detached mount where a path leads to; a link at its end is not followed."""
    move_mount(mount_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH)


def fsopen(fstype: str) -> int:
    """fsopen(2), close-on-exec: a file system context to configure."""
    return check(_fsopen(fstype.encode(), FSOPEN_CLOEXEC), fstype)


def fsconfig(fd: int, command: int, key: str | None, value: Path | None, aux: int = 0) -> None:
    """fsconfig(2). A string may have at most 255 bytes."""
    name = key.encode() if key is not None else None
    data = encode(value) if value is not None else None
    check(_fsconfig(fd, command, name, data, aux), value or key)


def fsconfig_string(fd: int, key: str, value: Path) -> None:
    fsconfig(fd, FSCONFIG_SET_STRING, key, value)


def fsconfig_flag(fd: int, key: str) -> None:
    fsconfig(fd, FSCONFIG_SET_FLAG, key, None)


def fsconfig_create(fd: int) -> None:
    fsconfig(fd, FSCONFIG_CMD_CREATE, None, None)


def fsmount(fd: int, attributes: int = 0) -> int:
    """fsmount(2), close-on-exec: a detached mount of a configured file system."""
    return check(_fsmount(fd, FSMOUNT_CLOEXEC, attributes))


def mount_setattr(
    dirfd: int,
    path: Path,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2), since Linux 5.12."""
    attr = MountAttr(attr_set, attr_clr, propagation, userns_fd)
    result = _mount_setattr(
        dirfd, encode(path), flags, ctypes.byref(attr), ctypes.sizeof(MountAttr)
    )
    check(result, path)
