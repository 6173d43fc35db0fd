"""Names and properties of systemd's transient scopes (systemd.scope(5)). Pure.

A container's ``cgroupsPath`` of the form ``SLICE:PREFIX:NAME`` means the scope ``PREFIX-NAME`` in
a slice. Its limits are properties of the scope, because systemd writes those of its units into the
kernel's files whenever it sees a reason to, as on ``daemon-reload``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.cgroup.limits_v2 import cpu_weight, io_weight, swap_limit
from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import LinuxCpu, LinuxMemory, LinuxResources

SYSTEM_SLICE = "system.slice"
PREFIX = "wherry"

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")  # systemd.unit(5)
_UNLIMITED = 2**64 - 1
_QUOTA_STEP_US = 10_000  # systemd.resource-control(5), CPUQuota=
_MAX_CPUS = 8192

Property = tuple[str, tuple[str, object]]
"""A name, and the value as D-Bus has it: its signature and itself."""


class Scope(NamedTuple):
    """A scope and the slice above it, by their units' names."""

    unit: str
    slice: str

    @property
    def path(self) -> str:
        """The control group, relative to the hierarchy's root: ``/a.slice/a-b.slice/x.scope``."""
        return f"{slice_path(self.slice)}/{self.unit}"


def parse_scope(cgroups_path: str, container_id: str) -> Scope:
    """The scope that a specification asks for; InvalidArgument."""
    wanted = cgroups_path or f"{SYSTEM_SLICE}:{PREFIX}:{container_id}"
    if wanted.count(":") != 2:
        raise InvalidArgument(
            f"expected cgroupsPath to be of format 'slice:prefix:name' for systemd cgroups, got "
            f"{cgroups_path!r} instead"
        )
    parent, prefix, name = wanted.split(":")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if name.endswith(".slice") or not name or not _UNIT.fullmatch(unit):
        raise InvalidArgument(f"invalid name of a systemd scope: {unit!r}")
    slice_path(parent or SYSTEM_SLICE)
    return Scope(unit, parent or SYSTEM_SLICE)


def scope_of(path: str) -> Scope:
    """The scope whose control group is at ``path``; InvalidArgument if there can be none."""
    above, _, unit = path.rpartition("/")
    if not path.startswith("/") or not unit.endswith(".scope"):
        raise InvalidArgument(f"the control group {path!r} is not that of a systemd scope")
    return Scope(unit, above.rpartition("/")[2] or "-.slice")


def slice_path(name: str) -> str:
    """Where a slice is: the dashes of its name are the steps to it (systemd.slice(5))."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    parts = stem.split("-")
    if stem == name or not all(parts) or not _UNIT.fullmatch(name):
        raise InvalidArgument(
            f"invalid slice {name!r}: cgroup-parent for systemd cgroup should be a valid slice "
            'named as "xxx.slice"'
        )
    steps = ("-".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return "".join(f"/{step}.slice" for step in steps)


def first_properties(scope: Scope, pid: int, resources: LinuxResources) -> list[Property]:
    """What a new scope has. ``CollectMode`` lets systemd forget it when it has failed, too (an
    out-of-memory kill is a failure), so that its name is free for the next start."""
    accounting = ("CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting")
    return [
        ("Description", ("s", f"Wherry container {scope.unit.removesuffix('.scope')}")),
        ("Slice", ("s", scope.slice)),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("DefaultDependencies", ("b", False)),
        ("CollectMode", ("s", "inactive-or-failed")),
        *((name, ("b", True)) for name in accounting),
        *limit_properties(resources),
    ]


def limit_properties(resources: LinuxResources) -> list[Property]:
    """The limits that systemd knows; the others are left to the kernel's files alone."""
    found: list[Property] = []
    if resources.memory is not None:
        found += _memory(resources.memory)
    if resources.cpu is not None:
        found += _cpu(resources.cpu)
    if resources.pids is not None:
        limit = resources.pids.limit
        found.append(("TasksMax", ("t", limit if limit > 0 else _UNLIMITED)))
    if resources.block_io is not None and resources.block_io.weight:
        found.append(("IOWeight", ("t", io_weight(resources.block_io.weight))))
    return found


def _memory(memory: LinuxMemory) -> list[Property]:
    found: list[Property] = []
    if memory.limit:
        found.append(("MemoryMax", ("t", _bytes(memory.limit))))
    if memory.swap:
        swap = swap_limit(memory.limit, memory.swap)
        found.append(("MemorySwapMax", ("t", _UNLIMITED if swap == "max" else int(swap))))
    elif memory.limit == -1:
        found.append(("MemorySwapMax", ("t", _UNLIMITED)))
    if memory.reservation is not None:
        found.append(("MemoryLow", ("t", _bytes(memory.reservation))))
    return found


def _bytes(limit: int) -> int:
    return _UNLIMITED if limit == -1 else limit


def _cpu(cpu: LinuxCpu) -> list[Property]:
    found: list[Property] = []
    if cpu.shares:
        found.append(("CPUWeight", ("t", cpu_weight(cpu.shares))))
    if cpu.quota or cpu.period:
        found.append(("CPUQuotaPerSecUSec", ("t", _quota(cpu.quota or -1, cpu.period or 100_000))))
    if cpu.period:
        found.append(("CPUQuotaPeriodUSec", ("t", cpu.period)))
    if cpu.cpus:
        found.append(("AllowedCPUs", ("ay", bitmap(cpu.cpus))))
    if cpu.mems:
        found.append(("AllowedMemoryNodes", ("ay", bitmap(cpu.mems))))
    return found


def _quota(quota: int, period: int) -> int:
    """Microseconds of each second, rounded up to what systemd divides."""
    if quota < 0:
        return _UNLIMITED
    per_second = quota * 1_000_000 // period
    return -(-per_second // _QUOTA_STEP_US) * _QUOTA_STEP_US


def bitmap(numbers: str) -> bytes:
    """``0-2,7`` as bits, the lowest first; InvalidArgument."""
    bits = 0
    for part in numbers.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        low, high = first, last if dash else first
        if not (low.isdecimal() and high.isdecimal() and int(high) < _MAX_CPUS):
            raise InvalidArgument(f"invalid list of processors or memory nodes: {numbers!r}")
        for number in range(int(low), int(high) + 1):
            bits |= 1 << number
    return bits.to_bytes(max(1, -(-bits.bit_length() // 8)), "little")
