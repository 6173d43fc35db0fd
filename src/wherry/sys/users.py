"""User namespaces, and network namespaces that they own, held by descriptor.

A process with threads cannot be in a new user namespace (unshare(2)), so that a child makes them.
It is gone when these functions return.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

from wherry.sys.namespaces import CLONE_NEWNET, CLONE_NEWUSER, setns, unshare

Range = tuple[int, int, int]
"""The first id inside, the first outside, and how many (user_namespaces(7))."""


def make_users(uids: Sequence[Range], gids: Sequence[Range]) -> tuple[int, int]:
    """Descriptors of a user namespace with these ids and of a network namespace that it owns.
    OSError."""

    def write(pid: int) -> None:
        for name, ranges in (("uid_map", uids), ("gid_map", gids)):
            fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                lines = (f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
                os.write(fd, "".join(lines).encode())
            finally:
                os.close(fd)

    users, network = _made(lambda: unshare(CLONE_NEWUSER | CLONE_NEWNET), ("user", "net"), write)
    return users, network


def make_network(users: int) -> int:
    """A descriptor of another network namespace that a user namespace owns. OSError."""

    def enter() -> None:
        setns(users, CLONE_NEWUSER)
        unshare(CLONE_NEWNET)

    return _made(enter, ("net",), lambda pid: None)[0]


def _made(
    enter: Callable[[], None], files: Sequence[str], complete: Callable[[int], None]
) -> list[int]:
    """Descriptors of what a child has made by ``enter``."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            pid = os.fork()
            if pid == 0:
                _hold(enter, ours, theirs)
        try:
            answer = ours.recv(1)
            if answer != b"\0":
                number = answer[0] if answer else 0
                raise OSError(number, os.strerror(number))
            complete(pid)
            return _open_all(pid, files)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            os.waitpid(pid, 0)


def _open_all(pid: int, files: Sequence[str]) -> list[int]:
    opened: list[int] = []
    try:
        for name in files:
            opened.append(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC))
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return opened


def _hold(enter: Callable[[], None], ours: socket.socket, theirs: socket.socket) -> None:
    """The child's side, which says how it went by a byte: an error's number, or 0, and then waits
    until the other side has hung up. Never returns."""
    try:
        ours.close()
        try:
            enter()
        except OSError as error:
            theirs.send(bytes([error.errno or 255]))
        else:
            theirs.send(b"\0")
            theirs.recv(1)
    finally:
        os._exit(0)
