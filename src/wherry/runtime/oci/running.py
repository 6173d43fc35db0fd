"""Commands for containers that run: ps, pause, resume, update, events; and what is refused."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterable

import msgspec

from wherry.cgroup.api import Cgroup, Stats
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.malformed import MALFORMED
from wherry.model.runtime_spec import (
    LinuxBlockIO,
    LinuxCpu,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
)
from wherry.runtime.oci.container import Container
from wherry.runtime.oci.options import Options

_SIZE = re.compile(r"(\d+)([kmgt]?)(i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_LIMITS_SIZE = 1 << 20

Printed = dict[str, object]


def _container(options: Options) -> Container:
    return Container(options.root, options.id)


def _pause(options: Options) -> None:
    _container(options).pause()


def _resume(options: Options) -> None:
    _container(options).resume()


# --- ps ---


def _ps(options: Options) -> None:
    pids = _container(options).pids()
    if options.format == "json":
        _print(list(pids))
        return
    done = subprocess.run(
        ["ps", *(options.args or ["-ef"])], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise InvalidArgument(f"ps failed: {done.stderr.strip().partition(chr(10))[0]}")
    sys.stdout.writelines(select_lines(done.stdout.splitlines(keepends=True), pids))


def select_lines(lines: list[str], pids: Iterable[int]) -> list[str]:
    """The title of what ps(1) printed and the lines of these processes; InvalidArgument if it
    has no column PID."""
    title = lines[0].split() if lines else []
    if "PID" not in title:
        raise InvalidArgument("the options for ps print no column PID")
    column, wanted = title.index("PID"), {str(pid) for pid in pids}
    return lines[:1] + [line for line in lines[1:] if line.split()[column] in wanted]


# --- update ---


def _update(options: Options) -> None:
    if options.l3_cache_schema or options.mem_bw_schema:
        raise NotSupported("linux.intelRdt is not supported")
    if options.resources:
        resources = _read_limits(options.resources)
    else:
        resources = limits_from(options)
    _container(options).update(resources)


def _read_limits(path: str) -> LinuxResources:
    name = "standard input" if path == "-" else path
    if path == "-":
        data = sys.stdin.buffer.read(_LIMITS_SIZE)
    else:
        with open(path, "rb") as file:
            data = file.read(_LIMITS_SIZE)
    try:
        return msgspec.json.decode(data, type=LinuxResources)
    except MALFORMED as error:
        raise InvalidArgument(f"{name} holds no limits: {error}") from None


def limits_from(options: Options) -> LinuxResources:
    """The limits that the options name; InvalidArgument."""
    cpu = LinuxCpu(
        shares=options.cpu_share,
        quota=options.cpu_quota,
        burst=options.cpu_burst,
        period=options.cpu_period,
        realtime_runtime=options.cpu_rt_runtime,
        realtime_period=options.cpu_rt_period,
        cpus=options.cpuset_cpus,
        mems=options.cpuset_mems,
        idle=options.cpu_idle,
    )
    memory = LinuxMemory(
        limit=_size(options.memory),
        reservation=_size(options.memory_reservation),
        swap=_size(options.memory_swap),
    )
    return LinuxResources(
        cpu=cpu,
        memory=memory,
        pids=None if options.pids_limit is None else LinuxPids(limit=options.pids_limit),
        block_io=None
        if options.blkio_weight is None
        else LinuxBlockIO(weight=options.blkio_weight),
    )


def _size(text: str | None) -> int | None:
    if text is None or text == "-1":
        return None if text is None else -1
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"{text!r} is not a size: bytes, or a number with k, m or g")
    power = " kmgt".index(found[2].lower() or " ")
    return int(found[1]) << 10 * power


# --- events ---


def _events(options: Options) -> None:
    container = _container(options)
    group = container.live_group()
    if options.stats:
        _print_event(container, "stats", group)
        return
    _watch(container, group, _milliseconds(options.interval))


def _watch(container: Container, group: Cgroup, interval_ms: int) -> None:
    """Print until the container ends. Out-of-memory kills are looked for at each interval."""
    poll = select.poll()
    pidfd = os.pidfd_open(container.record().pid)
    try:
        poll.register(pidfd, select.POLLIN)
        seen = group.oom_kills()
        ended = False
        while not ended:
            ended = bool(poll.poll(interval_ms))
            kills = group.oom_kills()
            for _ in range(kills - seen):
                _print_event(container, "oom", None)
            seen = kills
            if not ended:
                _print_event(container, "stats", group)
    finally:
        os.close(pidfd)


def _print_event(container: Container, kind: str, group: Cgroup | None) -> None:
    event: Printed = {"type": kind, "id": container.id}
    if group is not None:
        event["data"] = figures(group.stats())
    _print(event)


def _print(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def _milliseconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    length = round(float(found[1]) * _UNITS_MS[found[2]]) if found else 0
    if length <= 0:
        raise InvalidArgument(f"{text!r} is not a time above zero such as 500ms, 5s or 1m")
    return length


def figures(stats: Stats) -> Printed:
    """The figures under the names that runc gives them; times in nanoseconds, sizes in bytes."""
    cpu, memory = stats.cpu, stats.memory
    usage = {
        "total": cpu.usage_ns,
        "percpu": cpu.per_cpu_ns,
        "kernel": cpu.system_ns,
        "user": cpu.user_ns,
    }
    throttling = {
        "periods": cpu.periods,
        "throttledPeriods": cpu.throttled_periods,
        "throttledTime": cpu.throttled_ns,
    }
    sizes = {
        "limit": memory.limit,
        "usage": memory.usage,
        "max": memory.max_usage,
        "failcnt": memory.failcnt,
    }
    return {
        "cpu": {"usage": usage, "throttling": throttling},
        "memory": {"usage": sizes, "raw": memory.stat},
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit},
        "blkio": {
            "ioServiceBytesRecursive": stats.io_bytes,
            "ioServicedRecursive": stats.io_operations,
        },
    }


# --- refused ---


def _refuse(options: Options) -> None:
    raise NotSupported(
        f"{options.command} is not supported: wherry-runtime cannot write or read images of CRIU"
    )


COMMANDS: dict[str, Callable[[Options], None]] = {
    "pause": _pause,
    "resume": _resume,
    "ps": _ps,
    "update": _update,
    "events": _events,
    "checkpoint": _refuse,
    "restore": _refuse,
}
