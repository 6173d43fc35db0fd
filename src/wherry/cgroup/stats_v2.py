"""What a group of version 2 has used."""

from __future__ import annotations

from wherry.cgroup import files
from wherry.cgroup.api import BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats

_IO_BYTES = {"rbytes": "read", "wbytes": "write"}
_IO_OPERATIONS = {"rios": "read", "wios": "write"}


def stats(root: int, path: str) -> Stats:
    """All that the present controllers tell; zeros for the others."""
    return Stats(
        cpu=_cpu(root, path),
        memory=_memory(root, path),
        pids=PidsStats(
            current=files.read_number(root, f"{path}/pids.current"),
            limit=files.read_number(root, f"{path}/pids.max"),
        ),
        io_bytes=_io(root, path, _IO_BYTES),
        io_operations=_io(root, path, _IO_OPERATIONS),
    )


def _cpu(root: int, path: str) -> CpuStats:
    table = files.read_table(root, f"{path}/cpu.stat")
    return CpuStats(
        usage_ns=table.get("usage_usec", 0) * 1000,
        user_ns=table.get("user_usec", 0) * 1000,
        system_ns=table.get("system_usec", 0) * 1000,
        periods=table.get("nr_periods", 0),
        throttled_periods=table.get("nr_throttled", 0),
        throttled_ns=table.get("throttled_usec", 0) * 1000,
    )


def _memory(root: int, path: str) -> MemoryStats:
    return MemoryStats(
        usage=files.read_number(root, f"{path}/memory.current"),
        max_usage=files.read_number(root, f"{path}/memory.peak"),
        limit=files.read_number(root, f"{path}/memory.max"),
        failcnt=files.read_table(root, f"{path}/memory.events").get("max", 0),
        stat=files.read_table(root, f"{path}/memory.stat"),
    )


def _io(root: int, path: str, keys: dict[str, str]) -> tuple[BlkioEntry, ...]:
    """Lines ``MAJOR:MINOR KEY=VALUE ...``."""
    try:
        text = files.read(root, f"{path}/io.stat")
    except FileNotFoundError:
        return ()
    entries = []
    for device, *pairs in (line.split() for line in text.splitlines()):
        major, _, minor = device.partition(":")
        for key, value in (pair.split("=") for pair in pairs if "=" in pair):
            if key in keys and major.isdigit():
                number = int(value)
                entries.append(
                    BlkioEntry(major=int(major), minor=int(minor), op=keys[key], value=number)
                )
    return tuple(entries)
