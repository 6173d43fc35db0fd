"""User namespaces, and network namespaces that they own, held by descriptor.

A process with threads cannot be in a new user namespace (unshare(2)), so that a child makes them.
It is gone when these functions return. Nor can the ids of a namespace be read but of a process that
is in it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence

from wherry.sys.namespaces import CLONE_NEWNET, CLONE_NEWUSER, setns, unshare

Range = tuple[int, int, int]
"""The first id inside, the first outside, and how many (user_namespaces(7))."""

Maps = tuple[tuple[Range, ...], tuple[Range, ...]]
"""Of users and of groups."""


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


def maps_in(users: int) -> Maps:
    """The ids of a user namespace, as they are seen from here. OSError."""
    found: list[Maps] = []
    _made(
        lambda: setns(users, CLONE_NEWUSER), (), lambda pid: found.append(maps_of(f"/proc/{pid}"))
    )
    return found[0]


def maps_of(process: str) -> Maps:
    """The ids of a process's users, as they are seen from here; by its directory in /proc."""
    return _read_map(f"{process}/uid_map"), _read_map(f"{process}/gid_map")


def _read_map(path: str) -> tuple[Range, ...]:
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file]
    return tuple((int(inside), int(outside), int(count)) for inside, outside, count in rows)


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
            # Not by hanging up: others where it has entered may have stopped it.
            os.kill(pid, signal.SIGKILL)
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
    until it is killed, or the other side has ended. Never returns."""
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
