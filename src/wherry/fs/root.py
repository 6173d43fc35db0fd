"""A directory that is a root: no name given to it reaches anything outside.

Names are resolved as a process with this root would (openat2(2), ``RESOLVE_IN_ROOT``): links are
followed, absolute ones and ``..`` stop at the root, magic links are refused. So a container's tree
can be read and changed while the container runs and changes it, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from wherry.errors import InvalidArgument
from wherry.fs.links import without_links
from wherry.fs.walk import Node, walk
from wherry.model.users import UserMap
from wherry.sys import files

_IN_ROOT = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_READ_LIMIT = 16 * 1024 * 1024


class Root:
    """Names below an open directory. Paths may be absolute or relative, both start at the root.

    OSError with the path as the kernel gives it. A context that closes the descriptor.
    """

    def __init__(self, fd: int, users: UserMap | None = None) -> None:
        """Takes over a descriptor of a directory. ``users`` tells whose its files are, where the
        host says otherwise: in the tree of a process with a user namespace."""
        self.fd = fd
        self.users = users

    @classmethod
    def at(cls, path: str) -> Root:
        """The directory ``path`` of the host as a root."""
        return cls(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
        """A descriptor, close-on-exec, that the caller closes; the last link is followed unless
        ``flags`` say otherwise. Opening a fifo does not wait."""
        flags |= os.O_NONBLOCK | os.O_NOCTTY if not flags & os.O_PATH else 0
        name = path.lstrip("/") or "."
        try:
            return files.openat2(self.fd, name, flags, mode, _IN_ROOT)
        except PermissionError:
            name = without_links(self.fd, name, last=not flags & os.O_NOFOLLOW)
            return files.openat2(self.fd, name, flags, mode, _IN_ROOT)

    def open_directory(self, path: str) -> Root:
        """A directory of the tree as a root of its own."""
        return Root(self.open(path, _DIRECTORY))

    def open_file(self, path: str) -> BinaryIO:
        """A regular file for reading; InvalidArgument if it is anything else."""
        fd = self.open(path)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidArgument(f"{path} is not a regular file")
        return open(fd, "rb")

    def read(self, path: str, limit: int = _READ_LIMIT) -> bytes:
        """The content of a regular file; InvalidArgument if it has more than ``limit`` bytes."""
        with self.open_file(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidArgument(f"{path} is larger than {limit} bytes")
        return data

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        """stat(2), or lstat(2) without ``follow``."""
        fd = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether a name leads to something."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def readlink(self, path: str) -> str:
        """The text of a link."""
        fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def resolve(self, path: str) -> str:
        """The name of an existing object without links, from the root, with a leading slash.

        For telling it to people, not for use: it may be another object by then.
        """
        fd = self.open(path, os.O_PATH)
        try:
            base = os.readlink(f"/proc/self/fd/{self.fd}")
            full = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return "/" + os.path.relpath(full, base).removeprefix(".").lstrip("/")

    def mkdir(self, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Make one directory with exactly this mode. FileExistsError."""
        parent, name = self.open_parent(path)
        try:
            os.mkdir(name, mode, dir_fd=parent)
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.fchown(fd, *owner) if owner else None
                os.fchmod(fd, mode)
            finally:
                os.close(fd)
        finally:
            os.close(parent)

    def makedirs(self, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Make a directory and those above it where they are missing.

        NotADirectoryError, or FileNotFoundError for a link in the path that leads nowhere.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for end in range(1, len(parts) + 1):
            here = "/".join(parts[:end])
            try:
                self.mkdir(here, mode, owner)
            except FileExistsError:
                continue
        os.close(self.open(path, _DIRECTORY))

    def open_parent(self, path: str) -> tuple[int, str]:
        """A descriptor of the directory that ``path`` is in, which the caller closes, and the
        last component. InvalidArgument if there is none."""
        head, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise InvalidArgument(f"{path!r} does not name something in a directory")
        return self.open(head, os.O_PATH | os.O_DIRECTORY), name

    def unlink(self, path: str) -> None:
        """Remove a name that is no directory."""
        parent, name = self.open_parent(path)
        try:
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def symlink(self, target: str, path: str) -> None:
        """Make a link. FileExistsError."""
        parent, name = self.open_parent(path)
        try:
            os.symlink(target, name, dir_fd=parent)
        finally:
            os.close(parent)

    def walk(self, path: str = "") -> Iterator[Node]:
        """All names below a directory, see :func:`wherry.fs.walk.walk`."""
        fd = self.open(path, _DIRECTORY)
        try:
            yield from walk(fd)
        finally:
            os.close(fd)
