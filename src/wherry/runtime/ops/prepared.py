"""What a child cannot make for itself, made by its parent before it is cloned.

An id-mapped mount needs privileges over the file system it shows, which the root of a user
namespace lacks; and the socket of a seccomp agent lies outside of the container.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from wherry.errors import InvalidArgument
from wherry.runtime.ops.base import Prepared, SetupFailed, reason
from wherry.runtime.ops.mounts import BindMount


def prepare(mounts: Sequence[BindMount], listener: str) -> Prepared:
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


def _detached(mount: BindMount) -> int:
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
