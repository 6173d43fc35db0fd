"""Docker's checks of limits, in Docker's words: what is wrong, and what this kernel lacks."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.engine.spec.facts import HostFacts
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import HostConfig

_SMALLEST_MEMORY = 6 * 1024 * 1024
_CPUSET_LIMIT = 1 << 16


def check_limits(host: HostConfig, facts: HostFacts) -> Iterator[str]:
    """Warnings about limits that are dropped; InvalidArgument for those that make no sense."""
    _check_memory(host)
    _check_swap(host)
    _check_cpu(host, facts)
    _check_realtime(host, facts)
    _check_block_io(host)
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    yield from _warnings(host, facts)


def _check_memory(host: HostConfig) -> None:
    if 0 < host.memory < _SMALLEST_MEMORY or host.memory < -1:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if 0 < host.memory_reservation < _SMALLEST_MEMORY or host.memory_reservation < 0:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < host.memory < host.memory_reservation:
        raise InvalidArgument(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )


def _check_swap(host: HostConfig) -> None:
    if 0 < host.memory_swap < host.memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if host.memory == 0 and host.memory_swap > 0:
        raise InvalidArgument(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    swappiness = host.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )


def _check_cpu(host: HostConfig, facts: HostFacts) -> None:
    if host.nano_cpus:
        _check_nano_cpus(host, facts)
    if host.cpu_shares < 0:
        raise InvalidArgument(
            f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer"
        )
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < host.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    _check_cpuset(host.cpuset_cpus, facts.cpu_list, "cpus", "CPUs")
    _check_cpuset(host.cpuset_mems, facts.memory_nodes, "mems", "memory nodes")


def _check_cpuset(text: str, available: str, what: str, called: str) -> None:
    if not text:
        return
    if not _is_cpu_list(text):
        raise InvalidArgument(f"Invalid value {text} for cpuset {what}")
    if available and not _numbers(text) <= _numbers(available):
        raise InvalidArgument(
            f"Requested {called} are not available - requested {text}, available: {available}"
        )


def _numbers(text: str) -> set[int]:
    """Of a list that :func:`_is_cpu_list` has seen."""
    ranges = (part.partition("-") for part in text.split(","))
    return {n for first, _, last in ranges for n in range(int(first), int(last or first) + 1)}


def _check_nano_cpus(host: HostConfig, facts: HostFacts) -> None:
    if host.cpu_period:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.cpu_quota:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if "cpu cfs" in facts.lacks:
        raise NotSupported(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the "
            "cgroup is not mounted"
        )
    # Docker lets one hundredth of a processor through, and checks the limit of the whole.
    if host.nano_cpus < 0 or host.nano_cpus > facts.cpus * 1_000_000_000:
        raise InvalidArgument(
            f"Range of CPUs is from 0.01 to {facts.cpus}.00, as there are only {facts.cpus} CPUs "
            "available"
        )


def _is_cpu_list(text: str) -> bool:
    """``0-3,7`` (cpuset(7), "Formats")."""
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(n.isascii() and n.isdigit() and int(n) < _CPUSET_LIMIT for n in numbers):
            return False
        if dash and int(first) > int(last):
            return False
    return True


def _check_realtime(host: HostConfig, facts: HostFacts) -> None:
    if not (host.cpu_realtime_period or host.cpu_realtime_runtime):
        return
    if "cpu realtime" in facts.lacks:
        what = "period" if host.cpu_realtime_period else "runtime"
        raise NotSupported(f"Your kernel does not support CPU real-time {what}")
    if host.cpu_realtime_runtime > host.cpu_realtime_period > 0:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_block_io(host: HostConfig) -> None:
    weights = [host.blkio_weight, *(device.weight for device in host.blkio_weight_device or ())]
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")


def _warnings(host: HostConfig, facts: HostFacts) -> Iterator[str]:
    for limit, asked, text in _droppable(host):
        if asked and limit in facts.lacks:
            yield text
    if host.oom_kill_disable and not host.memory:
        yield (
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )


def _droppable(host: HostConfig) -> Iterator[tuple[str, object, str]]:
    """A limit, whether it was asked for, and what to say if the kernel lacks it."""

    def discarded(what: str, fate: str) -> str:
        return (
            f"Your kernel does not support {what} or the cgroup is not mounted. {fate} discarded."
        )

    yield "memory", host.memory, discarded("memory limit capabilities", "Limitation")
    yield (
        "swap",
        host.memory > 0 and host.memory_swap != -1,
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
        "Memory limited without swap.",
    )
    swappiness = host.memory_swappiness not in (None, -1)
    yield "swappiness", swappiness, discarded("memory swappiness capabilities", "Memory swappiness")
    soft = discarded("memory soft limit capabilities", "Limitation")
    yield "memory reservation", host.memory_reservation, soft
    oom = "Your kernel does not support OomKillDisable. OomKillDisable discarded."
    yield "oom kill disable", host.oom_kill_disable, oom
    tcp = discarded("kernel memory TCP limit capabilities", "Kernel memory TCP limit")
    yield "kernel memory tcp", host.kernel_memory_tcp, tcp
    yield "cpu shares", host.cpu_shares, discarded("CPU shares", "Shares")
    yield "cpu cfs", host.cpu_period or host.cpu_quota, discarded("CPU cfs quota", "Quota")
    yield "cpuset", host.cpuset_cpus or host.cpuset_mems, discarded("cpuset", "Cpuset")
    yield "pids", (host.pids_limit or 0) > 0, discarded("PIDs limit capabilities", "PIDs limit")
    yield "blkio weight", host.blkio_weight, discarded("Block I/O weight", "Weight")
    per_device = discarded("Block I/O weight_device", "Weight-device")
    yield "blkio weight device", host.blkio_weight_device, per_device
    throttled = (
        host.blkio_device_read_bps
        or host.blkio_device_write_bps
        or host.blkio_device_read_iops
        or host.blkio_device_write_iops
    )
    yield "blkio throttle", throttled, discarded("Block I/O throttling", "Throttling")
