"""Make an overlay's upper directory what its layer will say."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection

from wherry.fs.walk import open_below, walk

_NANO = 1_000_000_000
_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def settle(upper: int, mountpoints: Collection[str], max_mtime: int | None) -> None:
    """Remove mount points that are empty, and set later times back to ``max_mtime`` (seconds).

    ``mountpoints`` are absolute in the tree. The directory that one was in keeps its time. Nothing
    may have the tree mounted.
    """
    for path in sorted(mountpoints, reverse=True):  # what is inside another comes first
        _remove_empty(upper, path.strip("/"))
    if max_mtime is not None:
        _set_back(upper, max_mtime * _NANO)


def _remove_empty(upper: int, path: str) -> None:
    head, _, name = path.rpartition("/")
    parent = open_below(upper, head) if name else None
    if parent is None:
        return
    try:
        times = os.fstat(parent)
        if _unlink_empty(parent, name):
            os.utime(parent, ns=(times.st_atime_ns, times.st_mtime_ns))
    finally:
        os.close(parent)


def _unlink_empty(parent: int, name: str) -> bool:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=parent)
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
            os.unlink(name, dir_fd=parent)
        else:
            return False
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NOT_EMPTY:
            raise
        return False
    return True


def _set_back(upper: int, limit_ns: int) -> None:
    for node in walk(upper):
        status = node.status
        if status.st_mtime_ns > limit_ns:
            times = (min(status.st_atime_ns, limit_ns), limit_ns)
            os.utime(node.at, ns=times, dir_fd=node.dir_fd, follow_symlinks=False)
