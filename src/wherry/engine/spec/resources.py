"""Limits: from Docker's fields to the runtime specification's."""

from __future__ import annotations

from collections.abc import Mapping

from wherry.engine.spec.devices import ResolvedDevices
from wherry.engine.spec.facts import HostFacts
from wherry.model.container import HostConfig, ThrottleDevice
from wherry.model.runtime_spec import (
    LinuxBlockIO,
    LinuxCpu,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
    LinuxThrottleDevice,
    LinuxWeightDevice,
)

_PERIOD_US = 100_000
_NANOSECONDS = 1_000_000_000


def container_resources(
    host: HostConfig, facts: HostFacts, devices: ResolvedDevices
) -> LinuxResources:
    """All limits and device rules of a container. What :func:`check_supported` warned about is
    left out."""
    limits = limits_of(host, facts, devices.numbers)
    return LinuxResources(
        devices=devices.rules,
        memory=limits.memory,
        cpu=limits.cpu,
        pids=limits.pids,
        block_io=limits.block_io,
    )


def limits_of(
    host: HostConfig, facts: HostFacts, numbers: Mapping[str, tuple[int, int]]
) -> LinuxResources:
    """The limits alone, as an update of a running container needs them."""
    memory = LinuxMemory(
        limit=_offered(host.memory, "memory", facts),
        swap=_swap(host, facts),
        reservation=_offered(host.memory_reservation, "memory reservation", facts),
        swappiness=_swappiness(host, facts),
        kernel_tcp=_offered(host.kernel_memory_tcp, "kernel memory tcp", facts),
        disable_oom_killer=_offered_flag(host.oom_kill_disable, "oom kill disable", facts),
    )
    pids = _offered(host.pids_limit or 0, "pids", facts)
    cpu, block_io = _cpu(host, facts), _block_io(host, facts, numbers)
    return LinuxResources(
        memory=None if memory == LinuxMemory() else memory,
        cpu=None if cpu == LinuxCpu() else cpu,
        pids=None if pids is None else LinuxPids(limit=pids),
        block_io=None if block_io == LinuxBlockIO() else block_io,
    )


def _offered(value: int, limit: str, facts: HostFacts) -> int | None:
    """A value that was asked for and that the kernel can keep."""
    return value if value and limit not in facts.lacks else None


def _offered_flag(value: bool | None, limit: str, facts: HostFacts) -> bool | None:
    return True if value and limit not in facts.lacks else None


def _swap(host: HostConfig, facts: HostFacts) -> int | None:
    """Memory and swap together; as much swap as memory if nothing else is said."""
    if "swap" in facts.lacks or "memory" in facts.lacks:
        return None
    if host.memory_swap:
        return host.memory_swap
    return host.memory * 2 if host.memory > 0 else None


def _swappiness(host: HostConfig, facts: HostFacts) -> int | None:
    if host.memory_swappiness in (None, -1) or "swappiness" in facts.lacks:
        return None
    return host.memory_swappiness


def _cpu(host: HostConfig, facts: HostFacts) -> LinuxCpu:
    period, quota = host.cpu_period, host.cpu_quota
    if host.nano_cpus:
        period, quota = _PERIOD_US, host.nano_cpus * _PERIOD_US // _NANOSECONDS
    has_cpuset = "cpuset" not in facts.lacks
    return LinuxCpu(
        shares=_offered(host.cpu_shares, "cpu shares", facts),
        period=_offered(period, "cpu cfs", facts),
        quota=_offered(quota, "cpu cfs", facts),
        realtime_period=_offered(host.cpu_realtime_period, "cpu realtime", facts),
        realtime_runtime=_offered(host.cpu_realtime_runtime, "cpu realtime", facts),
        cpus=host.cpuset_cpus if has_cpuset else "",
        mems=host.cpuset_mems if has_cpuset else "",
    )


def _block_io(
    host: HostConfig, facts: HostFacts, numbers: Mapping[str, tuple[int, int]]
) -> LinuxBlockIO:
    def throttles(
        devices: tuple[ThrottleDevice, ...] | None,
    ) -> tuple[LinuxThrottleDevice, ...]:
        if "blkio throttle" in facts.lacks:
            return ()
        placed = ((numbers[device.path], device.rate) for device in devices or ())
        return tuple(LinuxThrottleDevice(major=n[0], minor=n[1], rate=rate) for n, rate in placed)

    return LinuxBlockIO(
        weight=_offered(host.blkio_weight, "blkio weight", facts),
        weight_device=_weights(host, facts, numbers),
        throttle_read_bps_device=throttles(host.blkio_device_read_bps),
        throttle_write_bps_device=throttles(host.blkio_device_write_bps),
        throttle_read_iops_device=throttles(host.blkio_device_read_iops),
        throttle_write_iops_device=throttles(host.blkio_device_write_iops),
    )


def _weights(
    host: HostConfig, facts: HostFacts, numbers: Mapping[str, tuple[int, int]]
) -> tuple[LinuxWeightDevice, ...]:
    if "blkio weight device" in facts.lacks:
        return ()
    placed = ((numbers[device.path], device.weight) for device in host.blkio_weight_device or ())
    return tuple(LinuxWeightDevice(major=n[0], minor=n[1], weight=weight) for n, weight in placed)
