"""A container's root in a mount namespace that others are in, too: the host's, or a joined one.

It cannot take the place of the namespace's root, which others have, and what is mounted is seen by
all of them. So the root is mounted on its own directory, everything else in it, and the process
changes to it by chroot(2). Nothing above it is touched, and whoever removes the container takes the
mounts away again (see oci/shared_mounts.py).
"""

from __future__ import annotations

import os

from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.kernel import JoinContainer
from wherry.runtime.ops.mounts import mount_root
from wherry.snapshot.api import OverlayMount
from wherry.sys import mount as m


class MountSharedRoot(Op, frozen=True):
    """Mount the root on a directory of the bundle; what is mounted in it later stays there."""

    target: str
    overlay: OverlayMount | None

    def describe(self) -> str:
        return f"mount the root file system on {self.target}"

    def execute(self, setup: Setup) -> None:
        mount_root(self.target, self.overlay)
        setup.root_fd = os.open(self.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # On a shared mount it became shared: mounts in it would be seen in further namespaces.
        m.mount_setattr(
            setup.root_fd, "", m.AT_EMPTY_PATH | m.AT_RECURSIVE, propagation=m.MS_PRIVATE
        )


class ChangeRoot(Op, frozen=True):
    """Make the container's root this process's own (chroot(2))."""

    def describe(self) -> str:
        return "enter the container's root file system"

    def execute(self, setup: Setup) -> None:
        _change_to(setup.root_fd)


class JoinSharedRoot(JoinContainer, frozen=True):
    """Enter a running container whose root is not that of its mount namespace."""

    pid: int

    def execute(self, setup: Setup) -> None:
        root = os.open(
            f"{self.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=setup.proc_fd
        )
        # If the process had ended before, and its number been given to another, this fails.
        super().execute(setup)
        os.close(setup.root_fd)
        setup.root_fd = root
        _change_to(root)


def _change_to(root: int) -> None:
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")
