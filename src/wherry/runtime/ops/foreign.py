"""Copies of mounts, also of those in other mount namespaces."""

from __future__ import annotations

import os
import re

from wherry.errors import NotFound
from wherry.sys import mount as m
from wherry.sys.namespaces import CLONE_NEWNS, setns

_IN_PROCESS = re.compile(r"/proc/([1-9][0-9]*)/root(/.*)")


def clone_tree(source: str, flags: int) -> int:
    """A detached copy of the mount at ``source``. FileNotFoundError.

    A path below ``/proc/PID/root`` is looked up in that process's mount namespace and root: it is
    how a container's ``/dev/shm`` comes to another, and no mount of one namespace may be copied in
    another (open_tree(2)). Only for a process with a single thread.
    """
    match = _IN_PROCESS.fullmatch(source)
    if match is None:
        return m.open_tree(m.AT_FDCWD, source, flags)
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(int(match[1]))
        try:
            return m.open_tree(m.AT_FDCWD, match[2], flags | m.AT_SYMLINK_NOFOLLOW)
        finally:
            setns(home, CLONE_NEWNS)
    finally:
        os.close(home)


def _enter(pid: int) -> None:
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"process {pid}, whose files are to be shared, has ended") from None
    try:
        setns(namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)
