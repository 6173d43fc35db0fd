"""What a container uses: definition ContainerStatsResponse."""

from __future__ import annotations

from typing import Any

from wherry.api.times import NEVER, rfc3339
from wherry.cgroup.api import BlkioEntry, CpuStats
from wherry.engine.api import StatsSample
from wherry.engine.records import Container

_BLOCK_IO = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def stats(
    container: Container, now: StatsSample | None, before: StatsSample | None
) -> dict[str, Any]:
    """``before`` is the sample a second earlier; without ``now`` the container does not run."""
    members: dict[str, Any] = {
        "name": f"/{container.name}",
        "id": container.id,
        "read": rfc3339(now.read_ns) if now else NEVER,
        "preread": rfc3339(before.read_ns) if before else NEVER,
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": _pids(now),
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(now),
        "blkio_stats": _block_io(now),
    }
    if now and now.networks:
        members["networks"] = {
            name: {field: getattr(counters, field) for field in counters.__struct_fields__}
            for name, counters in now.networks.items()
        }
    return members


def _pids(sample: StatsSample | None) -> dict[str, int]:
    if sample is None:
        return {}
    pids = sample.group.pids
    return {"current": pids.current, **({"limit": pids.limit} if pids.limit else {})}


def _cpu(sample: StatsSample | None) -> dict[str, Any]:
    cpu = sample.group.cpu if sample else CpuStats()
    usage: dict[str, Any] = {
        "total_usage": cpu.usage_ns,
        "usage_in_kernelmode": cpu.system_ns,
        "usage_in_usermode": cpu.user_ns,
    }
    if cpu.per_cpu_ns:
        usage["percpu_usage"] = cpu.per_cpu_ns
    members: dict[str, Any] = {
        "cpu_usage": usage,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_ns,
        },
    }
    if sample:
        members["system_cpu_usage"] = sample.system_cpu_ns
        members["online_cpus"] = sample.online_cpus
    return members


def _memory(sample: StatsSample | None) -> dict[str, Any]:
    if sample is None:
        return {}
    memory = sample.group.memory
    members: dict[str, Any] = {
        "usage": memory.usage,
        "stats": memory.stat,
        "limit": sample.memory_limit,
    }
    if memory.max_usage:
        members["max_usage"] = memory.max_usage
    if memory.failcnt:
        members["failcnt"] = memory.failcnt
    return members


def _block_io(sample: StatsSample | None) -> dict[str, Any]:
    members: dict[str, Any] = dict.fromkeys(_BLOCK_IO)
    if sample:
        members["io_service_bytes_recursive"] = _entries(sample.group.io_bytes)
        members["io_serviced_recursive"] = _entries(sample.group.io_operations)
    return members


def _entries(entries: tuple[BlkioEntry, ...]) -> list[dict[str, Any]] | None:
    found = [
        {"major": e.major, "minor": e.minor, "op": e.op.lower(), "value": e.value} for e in entries
    ]
    return found or None
