"""Limits on cgroup v2 (Documentation/admin-guide/cgroup-v2.rst). Pure: resources to settings.

The runtime specification is written in terms of version 1; what version 2 counts otherwise is
converted as runc does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from wherry.cgroup.settings import Setting, Step, single
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import (
    LinuxBlockIO,
    LinuxCpu,
    LinuxMemory,
    LinuxResources,
    LinuxThrottleDevice,
)


def cpu_weight(shares: int) -> int:
    """``cpu.weight`` (1..10000) for cpu shares (2..262144).

    The curve goes through (2, 1), (1024, 100) and (262144, 10000), so that the defaults of both
    versions are the same thing.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """``io.weight`` (1..10000) for a weight of blkio (10..1000), linearly."""
    return 1 + (weight - 10) * 9999 // 990


def swap_limit(limit: int | None, total: int) -> str:
    """``memory.swap.max`` for a limit of memory and of memory and swap in ``total``, bytes.

    InvalidArgument if the total is less than the memory, or nothing says how much memory is.
    """
    if total == -1:
        return "max"
    if limit is None or limit <= 0:
        raise InvalidArgument("a limit on memory and swap needs a limit on memory")
    if total < limit:
        raise InvalidArgument("the limit on memory and swap must not be below that on memory")
    return str(total - limit)


def plan(resources: LinuxResources) -> tuple[Step, ...]:
    """The steps for all limits but device rules; NotSupported for what only version 1 has."""
    steps: list[Step] = []
    if resources.memory is not None:
        steps += _memory(resources.memory)
    if resources.cpu is not None:
        steps += _cpu(resources.cpu)
    if resources.pids is not None:
        limit = resources.pids.limit
        steps.append(single("pids", "pids.max", limit if limit > 0 else "max"))
    if resources.block_io is not None:
        steps += _block_io(resources.block_io)
    for huge in resources.hugepage_limits:
        steps.append(single("hugetlb", f"hugetlb.{huge.page_size}.max", _unlimited(huge.limit)))
    if resources.network is not None and (
        resources.network.class_id or resources.network.priorities
    ):
        raise NotSupported("network classes and priorities need control groups of version 1")
    steps += _rdma(resources)
    steps += _unified(resources)
    return tuple(steps)


def _unlimited(limit: int) -> str:
    return "max" if limit == -1 else str(limit)


def _memory(memory: LinuxMemory) -> Iterator[Step]:
    _refuse_v1_only(memory)
    if memory.swap:
        yield single("memory", "memory.swap.max", swap_limit(memory.limit, memory.swap))
    elif memory.limit == -1:
        yield (Setting("memory", "memory.swap.max", "max", optional=True),)
    if memory.limit:
        yield single("memory", "memory.max", _unlimited(memory.limit))
    if memory.reservation is not None:
        yield single("memory", "memory.low", _unlimited(memory.reservation))


def _refuse_v1_only(memory: LinuxMemory) -> None:
    asked = {
        "a limit on kernel memory": memory.kernel,
        "a limit on memory of TCP buffers": memory.kernel_tcp,
        "memory swappiness": memory.swappiness not in (None, -1),
        "disabling the OOM killer": memory.disable_oom_killer,
    }
    for what, wanted in asked.items():
        if wanted:
            raise NotSupported(f"{what} cannot be set: control groups of version 2 lack it")


def _cpu(cpu: LinuxCpu) -> Iterator[Step]:
    if cpu.realtime_runtime or cpu.realtime_period:
        raise NotSupported("real-time CPU limits need control groups of version 1")
    if cpu.idle is not None:
        yield single("cpu", "cpu.idle", cpu.idle)
    if cpu.shares:
        yield single("cpu", "cpu.weight", cpu_weight(cpu.shares))
    if cpu.quota or cpu.period:
        # The kernel keeps the period if only a quota is written, and there is no way to write
        # a period alone, so that the quota is lifted then.
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        yield single("cpu", "cpu.max", f"{quota} {cpu.period}" if cpu.period else quota)
    if cpu.burst is not None:
        yield single("cpu", "cpu.max.burst", cpu.burst)
    if cpu.cpus:
        yield single("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield single("cpuset", "cpuset.mems", cpu.mems)


def _block_io(io: LinuxBlockIO) -> Iterator[Step]:
    if io.weight:
        yield _weight("default ", io.weight)
    for device in io.weight_device:
        if device.weight:
            yield _weight(f"{device.major}:{device.minor} ", device.weight)
    yield from _throttle("rbps", io.throttle_read_bps_device)
    yield from _throttle("wbps", io.throttle_write_bps_device)
    yield from _throttle("riops", io.throttle_read_iops_device)
    yield from _throttle("wiops", io.throttle_write_iops_device)


def _weight(what: str, weight: int) -> Step:
    """Of BFQ, which counts as version 1 did (block/bfq-iosched.rst), or of the cost model."""
    instead = Setting("io", "io.weight", f"{what}{io_weight(weight)}")
    return (Setting("io", "io.bfq.weight", f"{what}{weight}", instead=instead),)


def _throttle(key: str, devices: Iterable[LinuxThrottleDevice]) -> Iterator[Step]:
    for device in devices:
        rate = str(device.rate) if device.rate else "max"
        yield single("io", "io.max", f"{device.major}:{device.minor} {key}={rate}")


def _rdma(resources: LinuxResources) -> Iterator[Step]:
    for device, limit in resources.rdma.items():
        handles = "max" if limit.hca_handles is None else limit.hca_handles
        objects = "max" if limit.hca_objects is None else limit.hca_objects
        line = f"{device} hca_handle={handles} hca_object={objects}"
        yield single("rdma", "rdma.max", line)


def _unified(resources: LinuxResources) -> Iterator[Step]:
    """Files of version 2 by their own names."""
    for file, value in resources.unified.items():
        controller, dot, rest = file.partition(".")
        if not dot or not rest or "/" in file or controller == "cgroup":
            raise InvalidArgument(f"invalid file of a control group: {file!r}")
        for line in value.splitlines():
            yield single(controller, file, line)
