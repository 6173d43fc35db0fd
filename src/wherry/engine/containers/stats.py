"""What a running container uses: its control group, its network, and the host's own time."""

from __future__ import annotations

import os
import time

from wherry.cgroup.api import Stats
from wherry.engine.api import NetworkCounters, StatsSample
from wherry.engine.containers.launch import Launcher
from wherry.engine.records import Container
from wherry.errors import NotFound

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_CPU_FIELDS = 8  # user to steal; guest time, which follows, is in them already
_INTERFACES_LIMIT = 1024 * 1024  # bytes of /proc/PID/net/dev


def sample(launcher: Launcher, record: Container) -> StatsSample | None:
    """One measurement; None if the container does not run."""
    if not record.state.pid:
        return None
    try:
        group = launcher.cgroup(record).stats()
    except (NotFound, FileNotFoundError, ProcessLookupError):
        return None
    own_network = record.host.network_mode != "host" and not record.config.network_disabled
    return StatsSample(
        read_ns=time.time_ns(),
        group=group,
        system_cpu_ns=_system_cpu_ns(),
        online_cpus=os.sysconf("SC_NPROCESSORS_ONLN"),
        memory_limit=_memory_limit(group),
        networks=_interfaces(record.state.pid) if own_network else {},
    )


def _memory_limit(group: Stats) -> int:
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(group.memory.limit or host, host)


def _system_cpu_ns() -> int:
    """Time of all processors together, idle included: the first line of proc_stat(5)."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()
    return sum(int(ticks) for ticks in fields[1 : 1 + _CPU_FIELDS]) * _TICK_NS


def _interfaces(pid: int) -> dict[str, NetworkCounters]:
    """Counters by interface, without the loopback: proc_pid_net(5), ``dev``."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="utf-8", errors="replace") as file:
            lines = file.read(_INTERFACES_LIMIT).splitlines()[2:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    found = {}
    for line in lines:
        name, colon, counters = line.rpartition(":")
        fields = [int(text) for text in counters.split()]
        if colon and len(fields) >= 16 and name.strip() != "lo":
            found[name.strip()] = NetworkCounters(*fields[:4], *fields[8:12])
    return found
