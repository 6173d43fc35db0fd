"""Limits on cgroup v1 (Documentation/admin-guide/cgroup-v1). Pure: resources to settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wherry.cgroup.settings import Setting, Step, single
from wherry.errors import NotSupported
from wherry.model.runtime_spec import (
    LinuxBlockIO,
    LinuxCpu,
    LinuxMemory,
    LinuxNetwork,
    LinuxResources,
    LinuxThrottleDevice,
)


def plan(resources: LinuxResources) -> tuple[Step, ...]:
    """The steps for all limits but device rules; NotSupported for what only version 2 has."""
    if resources.unified:
        name = min(resources.unified)
        raise NotSupported(f"{name} cannot be set: this host has control groups of version 1")
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
        file = f"hugetlb.{huge.page_size}.limit_in_bytes"
        steps.append(single("hugetlb", file, huge.limit))
    if resources.network is not None:
        steps += _network(resources.network)
    steps += _rdma(resources)
    return tuple(steps)


def _memory(memory: LinuxMemory) -> Iterator[Step]:
    if memory.kernel:
        raise NotSupported("a limit on kernel memory cannot be set: kernels from 5.16 on lack it")
    pair = tuple(_memory_and_swap(memory))
    if pair:
        yield pair
    if memory.reservation is not None:
        yield single("memory", "memory.soft_limit_in_bytes", memory.reservation)
    if memory.kernel_tcp:
        yield single("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.swappiness is not None and memory.swappiness != -1:
        yield single("memory", "memory.swappiness", memory.swappiness)
    if memory.disable_oom_killer is not None:
        yield single("memory", "memory.oom_control", int(memory.disable_oom_killer))


def _memory_and_swap(memory: LinuxMemory) -> Iterator[Setting]:
    """The kernel keeps the limit below that of memory and swap together at every moment."""
    if memory.limit:
        yield Setting("memory", "memory.limit_in_bytes", str(memory.limit))
    if memory.swap:
        yield Setting("memory", "memory.memsw.limit_in_bytes", str(memory.swap))
    elif memory.limit == -1:
        yield Setting("memory", "memory.memsw.limit_in_bytes", "-1", optional=True)


def _cpu(cpu: LinuxCpu) -> Iterator[Step]:
    if cpu.idle is not None:
        yield single("cpu", "cpu.idle", cpu.idle)
    if cpu.shares:
        yield single("cpu", "cpu.shares", cpu.shares)
    pairs = (
        ((cpu.realtime_period, "cpu.rt_period_us"), (cpu.realtime_runtime, "cpu.rt_runtime_us")),
        ((cpu.period, "cpu.cfs_period_us"), (cpu.quota, "cpu.cfs_quota_us")),
    )
    for pair in pairs:
        step = tuple(Setting("cpu", file, str(value)) for value, file in pair if value)
        if step:
            yield step
    if cpu.burst is not None:
        yield single("cpu", "cpu.cfs_burst_us", cpu.burst)
    if cpu.cpus:
        yield single("cpuset", "cpuset.cpus", cpu.cpus)
    if cpu.mems:
        yield single("cpuset", "cpuset.mems", cpu.mems)


def _block_io(io: LinuxBlockIO) -> Iterator[Step]:
    if io.weight:
        yield _weight("weight", str(io.weight))
    if io.leaf_weight:
        yield single("blkio", "blkio.leaf_weight", io.leaf_weight)
    for device in io.weight_device:
        number = f"{device.major}:{device.minor}"
        if device.weight:
            yield _weight("weight_device", f"{number} {device.weight}")
        if device.leaf_weight:
            yield single("blkio", "blkio.leaf_weight_device", f"{number} {device.leaf_weight}")
    yield from _throttle("read_bps_device", io.throttle_read_bps_device)
    yield from _throttle("write_bps_device", io.throttle_write_bps_device)
    yield from _throttle("read_iops_device", io.throttle_read_iops_device)
    yield from _throttle("write_iops_device", io.throttle_write_iops_device)


def _weight(file: str, value: str) -> Step:
    """CFQ's until Linux 5.0, BFQ's since."""
    instead = Setting("blkio", f"blkio.bfq.{file}", value)
    return (Setting("blkio", f"blkio.{file}", value, instead=instead),)


def _throttle(what: str, devices: Iterable[LinuxThrottleDevice]) -> Iterator[Step]:
    for device in devices:
        line = f"{device.major}:{device.minor} {device.rate}"
        yield single("blkio", f"blkio.throttle.{what}", line)


def _network(network: LinuxNetwork) -> Iterator[Step]:
    if network.class_id:
        yield single("net_cls", "net_cls.classid", network.class_id)
    for entry in network.priorities:
        yield single("net_prio", "net_prio.ifpriomap", f"{entry.name} {entry.priority}")


def _rdma(resources: LinuxResources) -> Iterator[Step]:
    for device, limit in resources.rdma.items():
        handles = "max" if limit.hca_handles is None else limit.hca_handles
        objects = "max" if limit.hca_objects is None else limit.hca_objects
        line = f"{device} hca_handle={handles} hca_object={objects}"
        yield single("rdma", "rdma.max", line)
