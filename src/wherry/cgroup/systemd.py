"""Control groups that systemd makes: a transient scope for each container.

For machines whose administrator wants one owner of the tree of control groups. systemd makes the
scope around a first process, hands it over (``Delegate=yes``), and takes it away when it is empty.
What it has a property for is told to it; everything, those included, is written to the kernel's
files as well, as without systemd (:mod:`wherry.cgroup.unified`).
"""

from __future__ import annotations

import os

from wherry.cgroup.api import Cgroup, Cgroups, Stats
from wherry.cgroup.bus import Manager, SystemdError
from wherry.cgroup.scopes import Property, first_properties, limit_properties, scope_of
from wherry.errors import Conflict, InternalError, NotFound, NotSupported
from wherry.model.runtime_spec import LinuxResources

_BOOTED = "/run/systemd/system"  # sd_booted(3)


def check_systemd(cgroups: Cgroups) -> None:
    """NotSupported where systemd cannot be asked for groups."""
    if not os.path.isdir(_BOOTED):
        raise NotSupported(
            "control groups cannot be made by systemd: it does not run here; use the driver "
            "cgroupfs"
        )
    if cgroups.mode != "unified":
        raise NotSupported(
            "control groups can be made by systemd only where they are of version 2 alone; use the "
            "driver cgroupfs"
        )


class SystemdCgroups:
    """Implements ``cgroup.api.Cgroups``; paths are those of scopes."""

    def __init__(self, inner: Cgroups) -> None:
        """``inner`` reads and writes the files. NotSupported, see :func:`check_systemd`."""
        check_systemd(inner)
        self._inner = inner

    @property
    def mode(self) -> str:
        return self._inner.mode

    def create(self, path: str, resources: LinuxResources, first: int = 0) -> Cgroup:
        scope = scope_of(path)
        if not first:
            raise InternalError(f"the scope {scope.unit} cannot be made without a process")
        with Manager() as manager:
            _start(manager, scope.unit, first_properties(scope, first, resources))
        try:
            group = SystemdCgroup(self._inner.open(path), scope.unit)
            group.write(resources)
        except BaseException:
            _stop(scope.unit)
            raise
        return group

    def open(self, path: str) -> Cgroup:
        return SystemdCgroup(self._inner.open(path), scope_of(path).unit)

    def remove_if_empty(self, path: str) -> None:
        """Slices come and go with what is in them."""


class SystemdCgroup:
    """The group of one scope."""

    def __init__(self, inner: Cgroup, unit: str) -> None:
        self._inner = inner
        self._unit = unit

    @property
    def path(self) -> str:
        return self._inner.path

    def directory_fd(self) -> int | None:
        return self._inner.directory_fd()

    def add(self, pid: int) -> None:
        self._inner.add(pid)

    def write(self, resources: LinuxResources) -> None:
        """Set limits in the kernel alone, after systemd was told."""
        self._inner.update(resources)

    def update(self, resources: LinuxResources) -> None:
        changes = limit_properties(resources)
        if changes:
            with Manager() as manager:
                manager.call("SetUnitProperties", "sba(sv)", self._unit, True, changes)
        self.write(resources)

    def freeze(self) -> None:
        self._inner.freeze()

    def thaw(self) -> None:
        self._inner.thaw()

    def frozen(self) -> bool:
        return self._inner.frozen()

    def pids(self) -> tuple[int, ...]:
        return self._inner.pids()

    def kill(self) -> None:
        self._inner.kill()

    def stats(self) -> Stats:
        return self._inner.stats()

    def oom_kills(self) -> int:
        return self._inner.oom_kills()

    def remove(self) -> None:
        _stop(self._unit)
        self._inner.remove()


def _start(manager: Manager, unit: str, properties: list[Property]) -> None:
    """Start a scope; once more if one that has ended is still known by that name."""
    try:
        _start_once(manager, unit, properties)
    except SystemdError as error:
        if error.name != "org.freedesktop.systemd1.UnitExists":
            raise
        manager.try_call("ResetFailedUnit", "s", unit)
        try:
            _start_once(manager, unit, properties)
        except SystemdError as again:
            raise Conflict(f"the systemd scope {unit} is in use: {again}") from None


def _start_once(manager: Manager, unit: str, properties: list[Property]) -> None:
    signature = "ssa(sv)a(sa(sv))"  # the last are units that are started along with it
    result = manager.run_job("StartTransientUnit", signature, unit, "fail", properties, [])
    if result != "done":
        raise InternalError(f"systemd could not start the scope {unit}: {result}")


def _stop(unit: str) -> None:
    """Stop a scope and wait until it is gone; it may be gone already."""
    with Manager() as manager:
        try:
            manager.run_job("StopUnit", "ss", unit, "replace")
        except NotFound:
            return
        manager.try_call("ResetFailedUnit", "s", unit)
