"""Namespaces that a process has to begin in, and how it gets there.

Some namespaces cannot be entered by a process itself once it is there (its PID namespace, a time
namespace with offsets), or only before it has given up the host's privileges (what a container in a
user namespace shares with others). Whoever clones it enters them first. Nobody comes back from a
user namespace, so that is left to a process made for it, whose child becomes its sibling.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing

import msgspec

from wherry.errors import InternalError
from wherry.runtime.ops.base import reason
from wherry.runtime.packets import receive_packet, send_packet
from wherry.sys.namespaces import (
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_PARENT,
    clone3,
    setns,
    unshare,
)

Clone = Callable[[], tuple[int, int]]


class Passage(msgspec.Struct, frozen=True):
    """``joined``: flags of clone(2) and the paths of the namespaces' files; ``time_offsets``: the
    text for ``/proc/PID/timens_offsets`` of a new time namespace (time_namespaces(7))."""

    joined: tuple[tuple[int, str], ...] = ()
    time_offsets: str = ""

    def __bool__(self) -> bool:
        return bool(self.joined or self.time_offsets)


def enter(passage: Passage) -> None:
    """Enter the namespaces; OSError names the file.

    A user namespace comes after those of the host, which it has no power over, and before those
    that it owns.
    """
    opened = [
        (flag, path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)) for flag, path in passage.joined
    ]
    users = [one for one in opened if one[0] == CLONE_NEWUSER]
    later = [one for one in opened if one[0] != CLONE_NEWUSER and not _entered(*one, bool(users))]
    for one in (*users, *later):
        _entered(*one, False)
    if passage.time_offsets:
        unshare(CLONE_NEWTIME)
        fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, passage.time_offsets.encode())
        finally:
            os.close(fd)


def _entered(flag: int, path: str, fd: int, may_wait: bool) -> bool:
    """Enter one; False if it was refused and ``may_wait``."""
    try:
        setns(fd, flag)
    except OSError as error:
        if may_wait and isinstance(error, PermissionError):
            return False
        error.filename = path
        raise
    os.close(fd)
    return True


def through(
    passage: Passage, clone: Clone, reap: Callable[[int], None] | None = None
) -> tuple[int, int]:
    """Call ``clone`` from a process that has gone through the passage; its pid and pidfd.

    The child has to be cloned with CLONE_PARENT, which makes it this process's own. With ``reap``
    it and the process that clones it are children of this one's parent: that process's number is
    what ``reap`` is called with.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours), closing(theirs):
        helper = os.fork() if reap is None else clone3(CLONE_PARENT)[0]
        if helper == 0:
            _help(passage, clone, theirs)
        theirs.close()
        data, fds, _ = receive_packet(ours, 4096)
        if reap is None:
            os.waitpid(helper, 0)
        else:
            reap(helper)
    if not fds:
        raise InternalError(data.decode() or "the way to the container's namespaces was cut off")
    return int(data), fds[0]


def _help(passage: Passage, clone: Clone, answer: socket.socket) -> None:
    """Never returns."""
    try:
        try:
            enter(passage)
        except OSError as error:
            answer.send(f"cannot enter the container's namespaces: {reason(error)}".encode())
            return
        pid, pidfd = clone()
        send_packet(answer, b"%d" % pid, [pidfd])
    except OSError as error:
        answer.send(f"cannot make the container's namespaces: {reason(error)}".encode())
    finally:
        os._exit(0)
