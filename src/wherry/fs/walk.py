"""Walk a tree that somebody else may be changing, without ever leaving it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator

from wherry.fs import attributes
from wherry.sys import files

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BELOW = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS


class Node:
    """One name in a tree. Valid until the walk's next step.

    ``path`` is relative to the root of the walk, without a leading slash. ``at`` is the name by
    which ``dir_fd`` reaches it: a directory is open itself, and is ``.``.
    """

    __slots__ = ("at", "dir_fd", "path", "status")

    def __init__(self, path: str, at: str, dir_fd: int, status: os.stat_result) -> None:
        self.path = path
        self.at = at
        self.dir_fd = dir_fd
        self.status = status

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    def open(self) -> int:
        """Open a file or directory for reading; the caller closes it. OSError if it is now
        something else."""
        flags = OPEN_DIRECTORY if self.is_directory else _OPEN_FILE
        fd = os.open(self.at, flags, dir_fd=self.dir_fd)
        if not os.path.samestat(os.fstat(fd), self.status):
            os.close(fd)
            raise OSError(errno.ESTALE, "It was replaced while it was read", self.path)
        return fd

    def readlink(self) -> str:
        return os.readlink(self.at, dir_fd=self.dir_fd)

    def xattrs(self) -> dict[str, bytes]:
        """The extended attributes that belong to content."""
        return attributes.carried_xattrs(attributes.proc_path(self.dir_fd, self.at))

    def has_xattr(self, name: str) -> bytes | None:
        """The value of any extended attribute; None without it."""
        try:
            path = attributes.proc_path(self.dir_fd, self.at)
            return os.getxattr(path, name, follow_symlinks=False)
        except OSError:
            return None


def walk(
    root: int, start: str = "", *, skip: Callable[[Node], bool] | None = None
) -> Iterator[Node]:
    """All names below the directory ``start`` of ``root``.

    A directory comes right before what is in it: first all that is no directory, then the
    directories, both sorted by name. ``skip`` leaves out a name and all below it. Names that
    vanish meanwhile are left out, too. One descriptor is open at a time, whatever the depth.
    """
    waiting = [start]
    while waiting:
        path = waiting.pop()
        fd = open_below(root, path)
        if fd is None:
            continue
        try:
            if path != start:
                node = Node(path, ".", fd, os.fstat(fd))
                if skip is not None and skip(node):
                    continue
                yield node
            waiting += yield from _contents(fd, path, skip)
        finally:
            os.close(fd)


def _contents(
    fd: int, path: str, skip: Callable[[Node], bool] | None
) -> Generator[Node, None, list[str]]:
    """Yield what is no directory; return the directories, last one first."""
    prefix = f"{path}/" if path else ""
    directories = []
    for name in sorted(os.listdir(fd)):
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            directories.append(prefix + name)
            continue
        node = Node(prefix + name, name, fd, status)
        if skip is None or not skip(node):
            yield node
    return directories[::-1]


def open_below(root: int, path: str) -> int | None:
    """A descriptor of a directory below ``root``, reached without following any link; None if
    there is none."""
    try:
        return files.openat2(root, path or ".", OPEN_DIRECTORY, 0, _BELOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
