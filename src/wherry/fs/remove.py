"""Remove trees that somebody else made."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from itertools import count

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(name: str, *, dir_fd: int | None = None) -> None:
    """Remove ``name`` below ``dir_fd``, whatever it is; nothing happens if it is not there.

    Trees of any depth: a directory that is not empty is renamed to the top of the doomed tree
    first, so that neither the recursion limit, nor the number of descriptors, nor the length of a
    path matters. Never leaves the tree: no link is followed, and a mount point is an error (EBUSY).
    """
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=dir_fd)
            return
        top = os.open(name, _OPEN, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    try:
        empty_directory(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=dir_fd)


def empty_directory(top: int) -> None:
    """Remove all that is in an open directory."""
    numbers = count()
    waiting = _unlink_files(top, top, numbers)
    while waiting:
        name = waiting.pop()
        fd = os.open(name, _OPEN, dir_fd=top)
        try:
            waiting += _unlink_files(fd, top, numbers)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top)


def _unlink_files(fd: int, top: int, numbers: count[int]) -> list[str]:
    """Unlink a directory's files and empty directories, move the others to the top; their names
    there."""
    with os.scandir(fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    directories = []
    for name, is_directory in entries:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
        elif fd == top:
            directories.append(name)
        else:
            with suppress(OSError):
                os.rmdir(name, dir_fd=fd)
                continue
            directories.append(_move_up(name, fd, top, numbers))
    return directories


def _move_up(name: str, fd: int, top: int, numbers: count[int]) -> str:
    for number in numbers:
        new = f".removed-{number}"
        try:
            os.stat(new, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, new, src_dir_fd=fd, dst_dir_fd=top)
            return new
    raise AssertionError("numbers do not end")
