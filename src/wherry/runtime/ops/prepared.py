"""What a child cannot make for itself, made by its parent before it is cloned.

An id-mapped mount needs privileges over the file system it shows, which the root of a user
namespace lacks; and the socket of a seccomp agent lies outside of the container.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence

from wherry.errors import InvalidArgument
from wherry.runtime.ops.base import DetachedOp, Prepared, SetupFailed, reason


def prepare(mounts: Sequence[DetachedOp], listener: str) -> Prepared:
    """Make the detached mounts and connect to the agent's socket, if there is one; the caller
    closes them."""
    prepared = Prepared()
    try:
        for mount in mounts:
            prepared.trees[mount] = _detached(mount)
        if listener:
            prepared.listener = connect(listener)
    except BaseException:
        prepared.close()
        raise
    return prepared


def give(streams: Sequence[int], uid: int) -> None:
    """Change the owner of pipes to a user of the container's, which its root cannot."""
    for fd in streams:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, uid, -1)


def _detached(mount: DetachedOp) -> int:
    try:
        return mount.detached()
    except OSError as error:
        raise SetupFailed(f"cannot {mount.describe()}: {reason(error)}") from error


def connect(path: str) -> int:
    """A descriptor of a connection to a seccomp agent; InvalidArgument."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise InvalidArgument(
            f"cannot connect to the seccomp agent at {path}: {reason(error)}"
        ) from None
    return sock.detach()
