"""Operations that fill /dev."""

from __future__ import annotations

import errno
import os
import stat

from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.rooted import make_in
from wherry.sys import mount as m

_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def _kept(setup: Setup, directory: str) -> int:
    """A directory for devices, opened once: all are made in a few, after the last mount."""
    fd = setup.directories.get(directory)
    if fd is None:
        fd = make_in(setup.root_fd, directory or "/", directory=True, created=setup.created)
        setup.directories[directory] = fd
    return fd


class MakeDevice(Op, frozen=True):
    """Make a device node, or where the kernel forbids that (user namespaces) bind the host's."""

    path: str
    type: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int

    def describe(self) -> str:
        return f"make the device {self.path}"

    def execute(self, setup: Setup) -> None:
        directory, _, name = self.path.rpartition("/")
        self._make(setup, _kept(setup, directory), name)

    def _make(self, setup: Setup, parent: int, name: str) -> None:
        device = 0 if self.type == "p" else os.makedev(self.major, self.minor)
        try:
            os.mknod(name, _TYPES[self.type] | self.mode, device, dir_fd=parent)
        except FileExistsError:
            self._check(os.lstat(name, dir_fd=parent), device)
        except PermissionError:
            self._bind(setup)
            return
        os.chown(name, self.uid, self.gid, dir_fd=parent, follow_symlinks=False)

    def _check(self, found: os.stat_result, device: int) -> None:
        if stat.S_IFMT(found.st_mode) != _TYPES[self.type] or found.st_rdev != device:
            raise FileExistsError(errno.EEXIST, "another file is in its place")

    def _bind(self, setup: Setup) -> None:
        tree = m.open_tree(m.AT_FDCWD, self.path, m.OPEN_TREE_CLONE)
        m.make_private(tree)
        target = make_in(setup.root_fd, self.path, directory=False, created=setup.created)
        m.attach(tree, target)
        os.close(target)
        os.close(tree)


class MakeLink(Op, frozen=True):
    """Make a symbolic link in /dev, unless something is there."""

    path: str
    target: str

    def describe(self) -> str:
        return f"make the link {self.path}"

    def execute(self, setup: Setup) -> None:
        directory, _, name = self.path.rpartition("/")
        try:
            os.symlink(self.target, name, dir_fd=_kept(setup, directory))
        except FileExistsError:
            pass
