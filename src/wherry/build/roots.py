"""Names inside a tree, as COPY, ADD and WORKDIR use them: see :mod:`wherry.fs.root`."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.build.api import CopyFailed
from wherry.fs.root import Root

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_LINKS = 40  # as in the kernel, path_resolution(7)


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """The descriptor for the length of a block."""
    try:
        yield fd
    finally:
        os.close(fd)


def open_in(root: int, path: str, flags: int = os.O_PATH) -> int | None:
    """Open a name with all links followed; None if it does not exist."""
    try:
        return Root(root).open(path, flags)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        if error.errno == errno.ELOOP:
            raise CopyFailed(f"too many links on the way to {path}") from None
        raise


def reopen(fd: int, flags: int) -> int:
    """The file behind an O_PATH descriptor, opened for use."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def read_in(root: int, path: str, limit: int) -> bytes | None:
    """The first ``limit`` bytes of a regular file; None if there is none of that name."""
    fd = open_in(root, path)
    if fd is None:
        return None
    with closing(fd):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(reopen(fd, os.O_RDONLY), "rb") as file:
            return file.read(limit)


def make_directories(root: int, path: str, owner: tuple[int, int] = (0, 0)) -> int:
    """Open a directory, and make it and those above it where they are missing (mode 0755).

    A link that leads nowhere is followed too: what it names is made. CopyFailed if something else
    than a directory is in the way. The caller closes the descriptor.
    """
    return _make_directories(root, posixpath.normpath("/" + path.lstrip("/")), owner, _LINKS)


def _make_directories(root: int, path: str, owner: tuple[int, int], links: int) -> int:
    fd = _open_directory(root, path)
    if fd is not None:
        return fd
    above, name = posixpath.split(path)
    parent = _make_directories(root, above, owner, links)
    with closing(parent):
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            return _through_link(root, above, name, parent, owner, links)
        made = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    os.fchmod(made, 0o755)
    os.fchown(made, *owner)
    return made


def _open_directory(root: int, path: str) -> int | None:
    try:
        return Root(root).open(path, DIRECTORY)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise CopyFailed(f"mkdir {path}: not a directory") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CopyFailed(f"too many links on the way to {path}") from None
        raise


def _through_link(
    root: int, above: str, name: str, parent: int, owner: tuple[int, int], links: int
) -> int:
    """The directory that a dangling link names."""
    try:
        target = os.readlink(name, dir_fd=parent)
    except OSError:
        raise CopyFailed(f"mkdir {posixpath.join(above, name)}: not a directory") from None
    if not links:
        raise CopyFailed(f"too many links on the way to {posixpath.join(above, name)}")
    return _make_directories(
        root, posixpath.normpath(posixpath.join("/", above, target)), owner, links - 1
    )
