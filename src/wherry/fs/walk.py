"""Walk a tree that somebody else may be changing, without ever leaving it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from operator import attrgetter

from wherry.fs import attributes
from wherry.sys import files

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BELOW = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS
_name = attrgetter("name")


class Node:
    """One name in a tree. Valid until the walk's next step.

    ``path`` is relative to the root of the walk, without a leading slash. ``at`` is the name by
    which ``dir_fd`` reaches it: a directory is open itself, and is ``.``.
    """

    __slots__ = ("_status", "at", "dir_fd", "path")

    def __init__(self, path: str, at: str, dir_fd: int, status: os.stat_result | None) -> None:
        """Without a status it is a file that its directory knows of, and is yet to be looked at."""
        self.path = path
        self.at = at
        self.dir_fd = dir_fd
        self._status = status

    @property
    def status(self) -> os.stat_result:
        """OSError if it is gone before it was looked at."""
        if self._status is None:
            self._status = os.stat(self.at, dir_fd=self.dir_fd, follow_symlinks=False)
        return self._status

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_directory(self) -> bool:
        return self._status is not None and stat.S_ISDIR(self._status.st_mode)

    @property
    def is_file(self) -> bool:
        return self._status is None or stat.S_ISREG(self._status.st_mode)

    def open(self) -> int:
        """Open a file or directory for reading; the caller closes it. OSError if it is now
        something else."""
        flags = OPEN_DIRECTORY if self.is_directory else _OPEN_FILE
        fd = os.open(self.at, flags, dir_fd=self.dir_fd)
        if not self._is_behind(fd):
            os.close(fd)
            raise OSError(errno.ESTALE, "It was replaced while it was read", self.path)
        return fd

    def _is_behind(self, fd: int) -> bool:
        status = os.fstat(fd)
        if self._status is not None:
            return os.path.samestat(status, self._status)
        self._status = status
        return stat.S_ISREG(status.st_mode)

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
    root: int,
    start: str = "",
    *,
    skip: Callable[[Node], bool] | None = None,
    unseen: bool = False,
) -> Iterator[Node]:
    """All names below the directory ``start`` of ``root``.

    A directory comes right before what is in it: first all that is no directory, then the
    directories, both sorted by name. ``skip`` leaves out a name and all below it. Names that
    vanish meanwhile are left out, too. One descriptor is open at a time, whatever the depth.

    ``unseen``: files come without having been looked at, for those who open each anyway; their
    status is had by opening them, and one that has vanished comes as well.
    """
    contents = _unseen_contents if unseen else _contents
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
            waiting += yield from contents(fd, path, skip)
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


def _unseen_contents(
    fd: int, path: str, skip: Callable[[Node], bool] | None
) -> Generator[Node, None, list[str]]:
    """The same with files as their directory has them."""
    prefix = f"{path}/" if path else ""
    directories = []
    with os.scandir(fd) as found:
        entries = sorted(found, key=_name)
    for entry in entries:
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            directories.append(prefix + name)
            continue
        node = Node(prefix + name, name, fd, None)
        if not entry.is_file(follow_symlinks=False):
            try:
                node.status  # noqa: B018  a link, or something special: it is looked at here
            except FileNotFoundError:
                continue
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
