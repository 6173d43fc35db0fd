"""The mounts that a container without a mount namespace of its own leaves with others.

They are known by their place and by not having been there before, so that they are found wherever
the set-up was cut off. Only for a process with a single thread, which enters the namespace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from wherry.errors import NotFound
from wherry.model.runtime_spec import Linux
from wherry.runtime.state import SharedRoot
from wherry.sys.mount import MNT_DETACH, UMOUNT_NOFOLLOW, umount2
from wherry.sys.mountinfo import unescaped
from wherry.sys.namespaces import CLONE_NEWNS, setns

T = TypeVar("T")


def look(linux: Linux, place: str) -> SharedRoot:
    """What is on a place before a container's root is. NotFound if the mount namespace that it
    joins is not there."""
    namespace = next((one.path for one in linux.namespaces if one.type == "mount"), "")
    try:
        found = _inside(namespace, lambda: tuple(_mounts_on(place)))
    except FileNotFoundError:
        raise NotFound(f"the mount namespace {namespace} does not exist") from None
    return SharedRoot(os.path.realpath(place), namespace, found)


def take_away(root: SharedRoot) -> None:
    """Unmount what has come to the place since. Idempotent; a namespace that has ended took its
    mounts along."""

    def unmount() -> None:
        for _ in set(_mounts_on(root.place)) - set(root.before):
            umount2(root.place, MNT_DETACH | UMOUNT_NOFOLLOW)

    try:
        _inside(root.namespace, unmount)
    except FileNotFoundError:
        pass


def _inside(namespace: str, work: Callable[[], T]) -> T:
    if not namespace:
        return work()
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            return work()
        finally:
            setns(home, CLONE_NEWNS)
            os.fchdir(here)  # entering a mount namespace changes to its root
    finally:
        os.close(home)
        os.close(here)


def _enter(path: str) -> None:
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)


def _mounts_on(place: str) -> Iterator[int]:
    """The numbers of the mounts on a place (proc(5) ``mountinfo``, fields 1 and 5, whose special
    characters are octal)."""
    wanted = os.path.realpath(place)
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(" ", 5)
            if unescaped(fields[4]) == wanted:
                yield int(fields[0])
