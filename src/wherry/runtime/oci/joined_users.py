"""The mappings of a user namespace that a container joins by its path.

A configuration need not repeat them, but an ``idmap`` mount without mappings of its own has those
of the container (config.md, section "Linux mount options"), whoever made its namespace; and they
decide whose the streams of a process are.
"""

from __future__ import annotations

import errno
import os
import signal
import socket

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import IdMapping, Linux
from wherry.sys.namespaces import CLONE_NEWUSER, clone3, setns

Mappings = tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]


def with_mappings(linux: Linux, found: Mappings) -> Linux:
    """The configuration with the mappings that were ``found``.

    InvalidArgument, in runc's words, if it says others: what it wants cannot be.
    """
    given = linux.uid_mappings, linux.gid_mappings
    if any(given) and (_in_order(given[0]), _in_order(given[1])) != found:
        raise InvalidArgument(
            "user namespaces enabled, but both namespace path and non-matching mapping specified "
            "-- you may only provide one"
        )
    return msgspec.structs.replace(linux, uid_mappings=found[0], gid_mappings=found[1])


def mappings_at(path: str) -> Mappings:
    """Those of the namespace whose file in /proc is ``path``.

    InvalidArgument if it is none that a container can be in. Only of a process can they be read
    (user_namespaces(7)): one is made that enters the namespace, waits, and is killed.
    """
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"cannot open the user namespace {path}: {error.strerror}") from None
    try:
        found = _mappings_in(namespace, path)
    finally:
        os.close(namespace)
    if not all(found):
        raise InvalidArgument(f"the user namespace {path} has no mappings yet")
    return found


def _mappings_in(namespace: int, path: str) -> Mappings:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid, pidfd = clone3(0)
    if pid == 0:
        ours.close()
        _enter(namespace, theirs)
    try:
        theirs.close()
        if number := int(ours.recv(16) or b"0"):
            raise InvalidArgument(f"cannot enter the user namespace {path}: {os.strerror(number)}")
        return mappings_of(pid)
    finally:
        ours.close()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # others there may have stopped it
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)


def _enter(namespace: int, parent: socket.socket) -> None:
    """Enter, tell how that went, and stay until the parent is done with it, or dead. Never
    returns."""
    try:
        parent.send(b"%d" % _entered(namespace))
        parent.recv(1)
    finally:
        os._exit(0)


def _entered(namespace: int) -> int:
    """The error's number; 0: there was none."""
    try:
        setns(namespace, CLONE_NEWUSER)
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


def mappings_of(pid: int) -> Mappings:
    """Those of a process's user namespace, as they are seen from that of this process."""
    return _read(f"/proc/{pid}/uid_map"), _read(f"/proc/{pid}/gid_map")


def _read(path: str) -> tuple[IdMapping, ...]:
    with open(path, encoding="ascii") as file:
        rows = [tuple(map(int, line.split())) for line in file]
    return _in_order(
        tuple(IdMapping(container_id=first, host_id=host, size=size) for first, host, size in rows)
    )


def _in_order(mappings: tuple[IdMapping, ...]) -> tuple[IdMapping, ...]:
    """The kernel sorts them when they are many."""
    return tuple(sorted(mappings, key=lambda one: one.container_id))
