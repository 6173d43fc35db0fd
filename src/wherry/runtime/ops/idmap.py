"""User namespaces that only carry a mapping of ids."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from wherry.model.runtime_spec import IdMapping
from wherry.sys.namespaces import CLONE_NEWUSER, clone3


def mapping_text(mappings: Sequence[IdMapping]) -> str:
    """The lines of ``uid_map`` (user_namespaces(7))."""
    return "".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings)


def write_mappings(
    pid: int, uids: Sequence[IdMapping], gids: Sequence[IdMapping], proc: str = "/proc"
) -> None:
    """Write the mappings of a process's new user namespace, from the parent's side."""
    for name, mappings in (("uid_map", uids), ("gid_map", gids)):
        if mappings:
            fd = os.open(f"{proc}/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, mapping_text(mappings).encode())
            finally:
                os.close(fd)


_made: dict[tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]], int] = {}
"""Those of this process, which sets up one container: its mounts mostly have the same."""


def user_namespace(uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> int:
    """A descriptor of a user namespace with these mappings, for an id-mapped mount."""
    maps = (tuple(uids), tuple(gids))
    if maps not in _made:
        _made[maps] = _make(*maps)
    return os.dup(_made[maps])


def _make(uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> int:
    """A process is needed to make one; it waits for nothing and is killed at once."""
    pid, pidfd = clone3(CLONE_NEWUSER)
    if pid == 0:
        while True:
            signal.pause()
    try:
        write_mappings(pid, uids, gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
