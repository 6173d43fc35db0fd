"""Mounts of an existing container: added and removed by quick re-creation.

A container that runs is stopped (with its signal and timeout), gets its mounts, and is started
again; its id, name, writable layer, networks and addresses stay. If it cannot be started with the
new mounts, it is started with the old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from wherry.engine.containers.lifecycle import Lifecycle
from wherry.engine.mounts.making import MountMaker
from wherry.engine.mounts.planning import PlannedMount, clean_destination, parse_bind, plan_mounts
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InvalidArgument, NotFound, NotModified, WherryError
from wherry.model.container import (
    ContainerConfig,
    EndpointIpam,
    EndpointSettings,
    HostConfig,
    MountRequest,
)
from wherry.network.api import Endpoint
from wherry.volume.api import Volumes


class MountChanger:
    """Changes the mounts of containers."""

    def __init__(
        self, table: ContainerTable, lifecycle: Lifecycle, maker: MountMaker, volumes: Volumes
    ) -> None:
        self._table = table
        self._lifecycle = lifecycle
        self._maker = maker
        self._volumes = volumes

    def change(self, entry: Entry, add: tuple[MountRequest, ...], remove: tuple[str, ...]) -> None:
        """Remove the mounts at some paths, then add others; a path may be in both.

        InvalidArgument, NotFound: nothing was changed. Conflict if it is removed when it stops.
        Errors of the start: it runs with what it had before.
        """
        targets = [clean_destination(target) for target in remove]
        plan = plan_mounts(ContainerConfig(), HostConfig(mounts=add), lambda ref: ())
        _check(entry.record, plan, targets)
        runs = entry.record.state.running
        if runs and entry.record.host.auto_remove:
            raise Conflict(
                f"container {entry.record.name} is removed when it stops (--rm): its mounts "
                "can only be changed before it is started"
            )
        before = entry.record
        if runs:
            with suppress(NotModified):
                self._lifecycle.stop(entry, None, "")
        try:
            self._apply(entry, plan, targets, add)
            if runs:
                self._start(entry, before.endpoints)
        except WherryError:
            self._restore(entry, before, runs)
            raise

    def _apply(
        self,
        entry: Entry,
        plan: tuple[PlannedMount, ...],
        targets: list[str],
        add: tuple[MountRequest, ...],
    ) -> None:
        with entry.tree, entry.lock:
            record = entry.record
            if record.state.running or record.state.status in ("removing", "dead"):
                raise Conflict(f"container {record.name} was changed meanwhile: try once more")
            _check(record, plan, targets)
            made = self._maker.make(plan, entry.id)
            self._maker.fill(entry.id, made)
            kept = tuple(m for m in record.mounts if m.destination not in targets)
            changed = msgspec.structs.replace(_without(record, targets), mounts=(*kept, *made))
            mounts = (*(changed.host.mounts or ()), *add) or None
            host = msgspec.structs.replace(changed.host, mounts=mounts)
            self._table.save(entry, msgspec.structs.replace(changed, host=host))
            self._note_users(entry)

    def _note_users(self, entry: Entry) -> None:
        self._volumes.release(entry.id)
        for mount in entry.record.mounts:
            if mount.type == "volume":
                self._volumes.use(mount.name, entry.id)

    def _start(self, entry: Entry, endpoints: dict[str, Endpoint]) -> None:
        """Start it at the addresses it had, if nobody took one of them meanwhile."""
        networking = entry.record.networking
        self._set(entry, lambda r: msgspec.structs.replace(r, networking=_pinned(r, endpoints)))
        try:
            with suppress(NotModified):
                self._lifecycle.start(entry)
        except (Conflict, InvalidArgument):
            self._set(entry, lambda r: msgspec.structs.replace(r, networking=networking))
            with suppress(NotModified):
                self._lifecycle.start(entry)
        finally:
            self._set(entry, lambda r: msgspec.structs.replace(r, networking=networking))

    def _restore(self, entry: Entry, before: Container, runs: bool) -> None:
        """Back to the mounts of before; the error that led here is the one to tell."""
        if entry.record.mounts != before.mounts and not entry.record.state.running:
            with entry.lock:
                self._set(
                    entry,
                    lambda r: msgspec.structs.replace(
                        r, mounts=before.mounts, host=before.host, config=before.config
                    ),
                )
                self._note_users(entry)
        if runs:
            with suppress(WherryError):
                self._start(entry, before.endpoints)

    def _set(self, entry: Entry, change: Callable[[Container], Container]) -> None:
        with entry.lock:
            self._table.save(entry, change(entry.record))


def _check(record: Container, plan: tuple[PlannedMount, ...], targets: list[str]) -> None:
    have = {mount.destination for mount in record.mounts} | _tmpfs(record)
    for target in targets:
        if target not in have:
            raise NotFound(f"container {record.name} has no mount at {target}")
    for mount in plan:
        if mount.destination in have - set(targets):
            raise InvalidArgument(f"Duplicate mount point: {mount.destination}")


def _tmpfs(record: Container) -> set[str]:
    return {clean_destination(target) for target in record.host.tmpfs or {}}


def _without(record: Container, targets: list[str]) -> Container:
    """The record whose configuration asks for no mount at these paths any more."""

    def stays(text: str) -> bool:
        return clean_destination(text) not in targets

    host, config = record.host, record.config
    host = msgspec.structs.replace(
        host,
        mounts=tuple(m for m in host.mounts or () if stays(m.target)) or None,
        binds=tuple(b for b in host.binds or () if parse_bind(b).destination not in targets)
        or None,
        tmpfs={target: text for target, text in (host.tmpfs or {}).items() if stays(target)}
        or None,
    )
    volumes = {target: value for target, value in (config.volumes or {}).items() if stays(target)}
    config = msgspec.structs.replace(config, volumes=volumes or None)
    return msgspec.structs.replace(record, host=host, config=config)


def _pinned(record: Container, endpoints: dict[str, Endpoint]) -> dict[str, EndpointSettings]:
    """The endpoints' settings with the addresses that they had."""
    pinned = dict(record.networking)
    for name, settings in record.networking.items():
        had = endpoints.get(name)
        if had is None:
            continue
        ipam = msgspec.structs.replace(
            settings.ipam_config or EndpointIpam(), ipv4_address=had.ipv4, ipv6_address=had.ipv6
        )
        pinned[name] = msgspec.structs.replace(settings, ipam_config=ipam, mac_address=had.mac)
    return pinned
