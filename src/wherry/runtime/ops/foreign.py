"""Copies of mounts, also of those in other mount namespaces."""

from __future__ import annotations

import os

from wherry.errors import NotFound
from wherry.sys import mount as m
from wherry.sys.namespaces import CLONE_NEWNS, setns


def clone_tree(source: str, flags: int) -> int:
    """A detached copy of the mount at ``source``. FileNotFoundError.

    A path below ``/proc/PID/root`` is looked up in that process's mount namespace and root: it is
    how a container's ``/dev/shm`` comes to another, and no mount of one namespace may be copied in
    another (open_tree(2)). Only for a process with a single thread.
    """
    pid, path = _in_process(source)
    if not pid:
        return m.open_tree(m.AT_FDCWD, source, flags)
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(pid)
        try:
            return m.open_tree(m.AT_FDCWD, path, flags | m.AT_SYMLINK_NOFOLLOW)
        finally:
            setns(home, CLONE_NEWNS)
    finally:
        os.close(home)


def _in_process(source: str) -> tuple[int, str]:
    """The process and the path of ``/proc/PID/root/PATH``; 0 for any other."""
    match source.split("/", 4):
        case ["", "proc", pid, "root", path] if pid.isascii() and pid.isdigit():
            return int(pid), f"/{path}"
    return 0, ""


def _enter(pid: int) -> None:
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"process {pid}, whose files are to be shared, has ended") from None
    try:
        setns(namespace, CLONE_NEWNS)
    finally:
        os.close(namespace)
