"""What a group of version 1 has used."""

from __future__ import annotations

import os
from collections.abc import Callable

from wherry.cgroup import files
from wherry.cgroup.api import BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_NO_LIMIT = 1 << 62  # the kernel writes the greatest multiple of a page below 2**63

Find = Callable[[str], tuple[int, str] | None]
"""Where a controller's directory is: the tree's descriptor and the path; None without it."""


def stats(find: Find) -> Stats:
    """All that the present controllers tell; zeros for the others."""
    return Stats(
        cpu=_cpu(find("cpuacct"), find("cpu")),
        memory=_memory(find("memory")),
        pids=_pids(find("pids")),
        io_bytes=_block_io(find("blkio"), "blkio.throttle.io_service_bytes_recursive"),
        io_operations=_block_io(find("blkio"), "blkio.throttle.io_serviced_recursive"),
    )


def _cpu(account: tuple[int, str] | None, scheduler: tuple[int, str] | None) -> CpuStats:
    usage = 0
    per_cpu: tuple[int, ...] = ()
    ticks: dict[str, int] = {}
    throttling: dict[str, int] = {}
    if account is not None:
        root, path = account
        usage = files.read_number(root, f"{path}/cpuacct.usage")
        ticks = files.read_table(root, f"{path}/cpuacct.stat")
        per_cpu = tuple(int(n) for n in files.read(root, f"{path}/cpuacct.usage_percpu").split())
    if scheduler is not None:
        throttling = files.read_table(scheduler[0], f"{scheduler[1]}/cpu.stat")
    return CpuStats(
        usage_ns=usage,
        user_ns=ticks.get("user", 0) * _TICK_NS,
        system_ns=ticks.get("system", 0) * _TICK_NS,
        per_cpu_ns=per_cpu,
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", 0),
    )


def _memory(place: tuple[int, str] | None) -> MemoryStats:
    if place is None:
        return MemoryStats()
    root, path = place
    limit = files.read_number(root, f"{path}/memory.limit_in_bytes")
    return MemoryStats(
        usage=files.read_number(root, f"{path}/memory.usage_in_bytes"),
        max_usage=files.read_number(root, f"{path}/memory.max_usage_in_bytes"),
        limit=limit if limit < _NO_LIMIT else 0,
        failcnt=files.read_number(root, f"{path}/memory.failcnt"),
        stat=files.read_table(root, f"{path}/memory.stat"),
    )


def _pids(place: tuple[int, str] | None) -> PidsStats:
    if place is None:
        return PidsStats()
    root, path = place
    return PidsStats(
        current=files.read_number(root, f"{path}/pids.current"),
        limit=files.read_number(root, f"{path}/pids.max"),
    )


def _block_io(place: tuple[int, str] | None, file: str) -> tuple[BlkioEntry, ...]:
    """Lines ``MAJOR:MINOR OPERATION VALUE``, and a total without a device."""
    if place is None:
        return ()
    table = files.read_table(place[0], f"{place[1]}/{file}")
    entries = []
    for key, value in table.items():
        device, _, operation = key.partition(" ")
        major, colon, minor = device.partition(":")
        if colon:
            entry = BlkioEntry(major=int(major), minor=int(minor), op=operation, value=value)
            entries.append(entry)
    return tuple(entries)
