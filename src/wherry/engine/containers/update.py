"""``docker update``: limits of a container, at once if it runs, and its restart policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from wherry.engine.containers.launch import Launcher
from wherry.engine.containers.restart import check_policy
from wherry.engine.events import Events
from wherry.engine.mounts.changes import MountChanger
from wherry.engine.records import Container
from wherry.engine.spec import check_supported, host_facts, limits_of, resolve_devices
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InvalidArgument, NotSupported
from wherry.model.container import ContainerChanges, HostConfig, PortBinding

_LIMITS = (
    "cpu_shares",
    "memory",
    "blkio_weight",
    "blkio_weight_device",
    "blkio_device_read_bps",
    "blkio_device_write_bps",
    "blkio_device_read_iops",
    "blkio_device_write_iops",
    "cpu_period",
    "cpu_quota",
    "cpu_realtime_period",
    "cpu_realtime_runtime",
    "cpuset_cpus",
    "cpuset_mems",
    "memory_reservation",
    "memory_swap",
    "nano_cpus",
    "pids_limit",
)
"""What can be changed of a container that exists."""

_FIXED = (
    "cgroup_parent",
    "devices",
    "device_cgroup_rules",
    "device_requests",
    "kernel_memory_tcp",
    "memory_swappiness",
    "oom_kill_disable",
    "init",
    "ulimits",
)
"""Members of Docker's Resources that are settled when a container is made or started."""

_DEFAULTS = HostConfig()


Bindings = Mapping[str, tuple[PortBinding, ...] | None]
ChangePorts = Callable[[str, Bindings, Sequence[str]], None]
"""Publishes ports of a container, and takes back others before it."""


def _no_ports(ref: str, add: Bindings, remove: Sequence[str]) -> None:
    raise NotSupported("the published ports of a container that exists cannot be changed")


class Updater:
    """Changes containers' limits and restart policies."""

    def __init__(
        self, table: ContainerTable, launcher: Launcher, events: Events, mounts: MountChanger
    ) -> None:
        self._table = table
        self._launcher = launcher
        self._events = events
        self._mounts = mounts
        self.change_ports: ChangePorts = _no_ports
        """Set by the wiring."""

    def update(self, ref: str, wanted: HostConfig, changes: ContainerChanges) -> tuple[str, ...]:
        """See ``engine.api.ContainerApi.update``."""
        entry = self._table.find(ref)
        _refuse_fixed(wanted)
        warnings = self._update(entry, wanted)
        if changes.publish_add or changes.publish_remove:
            self.change_ports(ref, changes.publish_add or {}, changes.publish_remove or ())
        if changes.mount_add or changes.mount_remove:
            self._mounts.change(entry, changes.mount_add or (), changes.mount_remove or ())
        self._events.container("update", entry.record)
        return warnings

    def _update(self, entry: Entry, wanted: HostConfig) -> tuple[str, ...]:
        """The record changes only if the kernel agrees."""
        with entry.lock:
            record = entry.record
            if record.state.status in ("removing", "dead"):
                raise Conflict('Container is marked for removal and cannot be "update".')
            host = _changed(record, wanted)
            check_policy(host.restart_policy, False)
            warnings = check_supported(record.config, host)
            self._apply(entry, wanted, host)
            self._table.save(entry, msgspec.structs.replace(record, host=host))
        return tuple(warnings)

    def _apply(self, entry: Entry, wanted: HostConfig, host: HostConfig) -> None:
        if entry.process is None or not any(_is_given(wanted, name) for name in _LIMITS):
            return
        limits = limits_of(host, host_facts(), resolve_devices(host).numbers)
        self._launcher.cgroup(entry.record).update(limits)


def _is_given(wanted: HostConfig, name: str) -> bool:
    return bool(getattr(wanted, name) != getattr(_DEFAULTS, name))


def _refuse_fixed(wanted: HostConfig) -> None:
    for name in _FIXED:
        if getattr(wanted, name):
            shown = "".join(part.capitalize() for part in name.split("_"))
            raise InvalidArgument(f"{shown} of a container that exists cannot be changed")


def _changed(record: Container, wanted: HostConfig) -> HostConfig:
    """The host part with what is given; InvalidArgument for what contradicts what is there."""
    have = record.host
    _check_cpus(have, wanted)
    changes = {name: getattr(wanted, name) for name in _LIMITS if _is_given(wanted, name)}
    if changes.get("pids_limit") == 0:
        changes["pids_limit"] = -1  # both mean "no limit"; a limit that was there must go
    if "memory" in changes and "memory_swap" not in changes:
        _check_swap(have, wanted.memory)
    if wanted.restart_policy.name:
        if have.auto_remove and wanted.restart_policy.name != "no":
            raise Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        changes["restart_policy"] = wanted.restart_policy
    return msgspec.structs.replace(have, **changes)


def _check_cpus(have: HostConfig, wanted: HostConfig) -> None:
    fraction, period_or_quota = "NanoCPUs", {"CPU Period": "cpu_period", "CPU Quota": "cpu_quota"}
    for shown, name in period_or_quota.items():
        if wanted.nano_cpus and getattr(have, name):
            raise InvalidArgument(
                f"Conflicting options: {fraction} cannot be updated as {shown} has already been set"
            )
        if have.nano_cpus and getattr(wanted, name):
            raise InvalidArgument(
                f"Conflicting options: {shown} cannot be updated as {fraction} has already been set"
            )


def _check_swap(have: HostConfig, memory: int) -> None:
    if 0 < have.memory_swap < memory:
        raise InvalidArgument(
            "Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time"
        )
