"""The seam between those who limit processes and the kernel's control groups."""

from __future__ import annotations

from typing import Protocol

import msgspec

from wherry.model.runtime_spec import LinuxResources


class CpuStats(msgspec.Struct, frozen=True, kw_only=True):
    """Times in nanoseconds, counts since the group was made."""

    usage_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


class MemoryStats(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes. ``limit`` 0 means none; ``stat`` holds the kernel's own ``memory.stat``."""

    usage: int = 0
    max_usage: int = 0
    limit: int = 0
    failcnt: int = 0
    stat: dict[str, int] = {}


class PidsStats(msgspec.Struct, frozen=True, kw_only=True):
    current: int = 0
    limit: int = 0  # 0: none


class BlkioEntry(msgspec.Struct, frozen=True, kw_only=True):
    major: int
    minor: int
    op: str
    value: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    cpu: CpuStats
    memory: MemoryStats
    pids: PidsStats
    io_bytes: tuple[BlkioEntry, ...] = ()
    io_operations: tuple[BlkioEntry, ...] = ()


class Cgroup(Protocol):
    """One control group, in every hierarchy the host has."""

    @property
    def path(self) -> str:
        """Relative to the hierarchies' roots, with a leading slash."""
        ...

    def directory_fd(self) -> int | None:
        """A descriptor for CLONE_INTO_CGROUP; None without a tree of version 2. The caller closes
        it."""
        ...

    def add(self, pid: int) -> None:
        """Move a process (all its threads) into the group."""
        ...

    def update(self, resources: LinuxResources) -> None:
        """Change limits; fields that are None stay as they are."""
        ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def frozen(self) -> bool:
        """Whether it was frozen and has not been thawed; False on a host that cannot freeze."""
        ...

    def pids(self) -> tuple[int, ...]:
        """All processes of the group and of those below it."""
        ...

    def kill(self) -> None:
        """SIGKILL to every process, until none is left."""
        ...

    def stats(self) -> Stats: ...

    def oom_kills(self) -> int:
        """How often the kernel killed a process of the group for lack of memory."""
        ...

    def remove(self) -> None:
        """Remove the group and those below it. Idempotent; waits for dying processes.

        One that systemd has made is left to systemd, which removes it when it is empty.
        """
        ...


class Cgroups(Protocol):
    """The control groups of this host."""

    @property
    def mode(self) -> str:
        """``legacy``, ``hybrid`` or ``unified``."""
        ...

    def create(self, path: str, resources: LinuxResources, first: int = 0) -> Cgroup:
        """Make a group and set its limits and device rules; nothing is left after an error.

        ``first`` is a process that is moved to it; 0: none, which systemd does not take.
        NotSupported names a controller that a limit needs and the host lacks.
        """
        ...

    def open(self, path: str) -> Cgroup:
        """An existing group; NotFound."""
        ...

    def remove_if_empty(self, path: str) -> None:
        """Remove a group in which and below which there is nothing; otherwise leave it alone."""
        ...
