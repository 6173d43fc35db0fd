"""Finds the processes of an engine by what they do, and kills them."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from tests.patience import patience

Role = Literal["engine", "launcher", "monitor", "starter", "init", "execs", "resolver"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_GONE = patience(20.0)
_OF_EXECS = "wherry-monitor execs "  # that one of all execs of a container


def read(path: str) -> str:
    """A file of procfs; empty if its process has gone."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    tasks = [read(str(task)) for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in tasks for child in text.split()]


def name_of(pid: int) -> str:
    return read(f"/proc/{pid}/comm").strip()


def parent_of(pid: int) -> int:
    stat = read(f"/proc/{pid}/stat")
    return int(stat.rpartition(")")[2].split()[1]) if stat else 0


def lives(pid: int) -> bool:
    """Whether it has not ended; one that its parent has yet to reap has."""
    stat = read(f"/proc/{pid}/stat")
    return bool(stat) and stat.rpartition(")")[2].split()[0] != "Z"


def is_contained(pid: int) -> bool:
    """Whether a process is in a PID namespace below this one."""
    lines = read(f"/proc/{pid}/status").splitlines()
    return any(line.startswith("NSpid:") and len(line.split()) > 2 for line in lines)


@dataclass(frozen=True)
class Family:
    """The processes of one engine, as seen when ``at`` reached a point.

    ``bystander`` is the process of the container ``spared``, which nobody kills.
    """

    engine: int
    at: int
    bystander: int
    spared: str

    def find(self, role: Role) -> int:
        """The process in a role; 0 if there is none now."""
        if role == "engine":
            return self.engine
        if role == "resolver":
            return self._resolver()
        if role == "launcher":
            return self._launcher()
        if role == "execs":
            return next(self._monitors(of_execs=True), 0)
        return next(self._of_monitor(self._monitor(), role), 0)

    def _launcher(self) -> int:
        return next((p for p in children(self.engine) if name_of(p) == "wherry-launcher"), 0)

    def _monitor(self) -> int:
        """Of the process that is being started or looked after; never the bystander's. A clone of
        an exec server, as on version 2 of control groups, has it two above."""
        parent = parent_of(self.at)
        above = (self.at, parent, parent_of(parent))
        for pid in above:
            if name_of(pid) == "wherry-monitor":
                return pid
        return next(self._monitors(of_execs=False), 0)

    def _monitors(self, *, of_execs: bool) -> Iterator[int]:
        """Busy ones, of execs or not. The youngest first: an exec's rather than its container's."""
        for pid in reversed(children(self._launcher())):
            title = read(f"/proc/{pid}/cmdline").rstrip("\0")
            busy = title.startswith("wherry-monitor ") and "waiting" not in title
            if busy and self.spared not in title and title.startswith(_OF_EXECS) == of_execs:
                yield pid

    def _of_monitor(self, monitor: int, role: Role) -> Iterator[int]:
        if role == "monitor" and monitor:
            yield monitor
        for pid in children(monitor) if monitor else []:
            if role == ("init" if is_contained(pid) else "starter"):
                yield pid

    def _resolver(self) -> int:
        """The process that has the socket of 127.0.0.11 in the bystander's namespace."""
        lines = read(f"/proc/{self.bystander}/net/udp").splitlines()[1:]
        inodes = {line.split()[9] for line in lines if line.split()[1].startswith("0B00007F:")}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if name_of(pid) == "wherry-resolver" and inodes & _sockets(pid):
                return pid
        return 0


def _sockets(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    return found


def kill(pid: int, *, wait: bool = True) -> None:
    """SIGKILL, and wait until it has ended (its parent may reap it when it likes). 0: nobody.

    A frozen process ends when it goes on: not to be waited for.
    """
    if not pid:
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if wait:
            select.select([pidfd], [], [], _GONE)
    finally:
        os.close(pidfd)
