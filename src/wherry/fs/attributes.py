"""Owner, permissions, extended attributes and times of files that are named by descriptor."""

from __future__ import annotations

import errno
import os

_CARRIED_PREFIXES = ("user.",)
_CARRIED = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})


def is_carried(xattr: str) -> bool:
    """Whether an extended attribute belongs to a file's content.

    All others belong to the host (``security.selinux``, ``security.ima``) or steer overlayfs
    (``trusted.overlay.*``), which nothing untrusted may do.
    """
    return xattr.startswith(_CARRIED_PREFIXES) or xattr in _CARRIED


def proc_path(dir_fd: int, name: str) -> str:
    """A path for system calls without a directory descriptor, to be used without following a
    link at its end; ``name`` has one component."""
    return f"/proc/self/fd/{dir_fd}/{name}"


def carried_xattrs(path: str | int) -> dict[str, bytes]:
    """The extended attributes that belong to a file's content, by name in order.

    ``path``: an open file, or a path whose last link is not followed.
    """
    return _carried(path, follow=isinstance(path, int))


def carried_xattrs_of_path_fd(fd: int) -> dict[str, bytes]:
    """The same for an O_PATH descriptor of anything but a link."""
    return _carried(f"/proc/self/fd/{fd}", follow=True)


def _carried(path: str | int, *, follow: bool) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=follow)
        return {
            name: os.getxattr(path, name, follow_symlinks=follow)
            for name in sorted(names)
            if is_carried(name)
        }
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return {}
        raise


def set_xattrs(path: str | int, xattrs: dict[str, bytes]) -> None:
    """Set those that :func:`is_carried`; the rest is left out silently, as Docker does.

    So is what the file system cannot hold (``user.`` on a device, or on tmpfs).
    """
    for name, value in xattrs.items():
        if not is_carried(name):
            continue
        try:
            os.setxattr(path, name, value, follow_symlinks=isinstance(path, int))
        except OSError as error:
            if error.errno not in _UNSUPPORTED and error.errno != errno.EPERM:
                raise


def chmod_no_follow(dir_fd: int, name: str, mode: int) -> None:
    """Set the mode of a device or fifo; OSError ENOTSUP if it turned into a link meanwhile."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def set_owner_and_mode(fd: int, uid: int, gid: int, mode: int) -> None:
    """chown, then chmod, since chown clears the set-id bits."""
    os.fchown(fd, uid, gid)
    os.fchmod(fd, mode)
