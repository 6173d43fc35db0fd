"""Entering the container's root where pivot_root(2) cannot: on a host that runs from its initial
ram disk (``--no-pivot``)."""

from __future__ import annotations

import os
from collections.abc import Iterator

from wherry.runtime.ops.base import Op, Setup
from wherry.sys import mount as m
from wherry.sys.mountinfo import unescaped

_CHUNK = 1 << 20


class MoveRoot(Op, frozen=True):
    """Move the root's mount over the host's root and change to it.

    The host's root stays below, out of sight. Everything else of the host's is taken out of this
    mount namespace before, or hidden where that is forbidden: a bare /proc there would let a user
    namespace in the container mount one without masks.
    """

    def describe(self) -> str:
        return "move to the container's root file system"

    def execute(self, setup: Setup) -> None:
        m.mount("", "/", "", m.MS_SLAVE | m.MS_REC)  # nothing of this may be seen on the host
        root = os.readlink(f"/proc/self/fd/{setup.root_fd}")
        for place in list(others(_mountinfo(setup), root)):
            _take_away(place)
        os.fchdir(setup.root_fd)
        m.mount(".", "/", "", m.MS_MOVE)
        os.chroot(".")
        os.chdir("/")


def _mountinfo(setup: Setup) -> str:
    fd = os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=setup.proc_fd)
    with open(fd, "rb", buffering=_CHUNK) as file:
        return os.fsdecode(file.read())


def others(mountinfo: str, root: str) -> Iterator[str]:
    """The places of mounts, last ones first, that neither the root lies on nor are below it (field
    5 of proc(5) ``mountinfo``, whose special characters are octal)."""
    for line in reversed(mountinfo.splitlines()):
        place = unescaped(line.split(" ")[4])
        holds = root == place or root.startswith(place.rstrip("/") + "/")
        if not holds and not place.startswith(root.rstrip("/") + "/"):
            yield place


def _take_away(place: str) -> None:
    try:
        m.umount2(place, m.MNT_DETACH)
    except FileNotFoundError:
        pass  # it was on another one that has gone
    except OSError:  # a user namespace's mounts are locked together
        m.mount("tmpfs", place, "tmpfs", m.MS_RDONLY, "size=0k")
