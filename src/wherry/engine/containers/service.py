"""Containers as the API asks for them: finds the entry, leaves the work to the parts."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress

import msgspec

from wherry.engine.api import (
    NO_FILTERS,
    ContainerSize,
    Created,
    Filters,
    PruneReport,
    StatsSample,
)
from wherry.engine.containers.creation import Creator
from wherry.engine.containers.launch import Launcher
from wherry.engine.containers.lifecycle import Lifecycle
from wherry.engine.containers.listing import PRUNE_FILTERS, list_containers, prunable
from wherry.engine.containers.stats import sample
from wherry.engine.containers.top import process_table
from wherry.engine.containers.update import Updater
from wherry.engine.containers.waiting import Condition
from wherry.engine.events import Events
from wherry.engine.files.changes import list_changes
from wherry.engine.logs.options import log_attributes, log_settings
from wherry.engine.mounts.changes import MountChanger
from wherry.engine.mounts.making import MountMaker
from wherry.engine.mounts.planning import NO_PLACES
from wherry.engine.records import Container, WaitResult
from wherry.engine.settings import EngineSettings
from wherry.engine.table import ContainerTable, Entry, PendingAttach, is_hung_up
from wherry.errors import Conflict, InvalidArgument, NotFound, NotModified
from wherry.model.container import ContainerChanges, ContainerConfig, HostConfig, NetworkingConfig
from wherry.runtime.logs.reader import LogReader
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Images
from wherry.sys.faults import reach
from wherry.volume.api import Volumes

_NO_CHANGES = ContainerChanges()


class Containers:
    """Implements ``engine.api.ContainerApi``."""

    def __init__(
        self,
        settings: EngineSettings,
        table: ContainerTable,
        creator: Creator,
        lifecycle: Lifecycle,
        launcher: Launcher,
        images: Images,
        snapshots: Snapshotter,
        volumes: Volumes,
        events: Events,
    ) -> None:
        self._settings = settings
        self._table = table
        self._creator = creator
        self._lifecycle = lifecycle
        self._launcher = launcher
        self._images = images
        self._snapshots = snapshots
        self._volumes = volumes
        self._events = events
        maker = MountMaker(volumes, images, snapshots)
        changer = MountChanger(table, lifecycle, maker, volumes)
        self.updater = Updater(table, launcher, events, changer)
        lifecycle.remove_after_exit = self._auto_remove

    # --- look ------------------------------------------------------------------------------

    def get(self, ref: str) -> Container:
        return self._table.find(ref).record

    def list(
        self, *, running_only: bool, limit: int = 0, filters: Filters = NO_FILTERS
    ) -> tuple[Container, ...]:
        return list_containers(self._table, self._images, running_only, limit, filters)

    def size(self, ref: str) -> ContainerSize:
        record = self.get(ref)
        writable = self._snapshots.usage(record.id).size
        try:
            image = self._images.get(record.image_id).size
        except NotFound:
            image = 0
        return ContainerSize(writable=writable, total=writable + image)

    def top(self, ref: str, ps_args: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        record = self.get(ref)
        if not record.state.running:
            raise Conflict(f"container {record.id} is not running")
        table = process_table(self._launcher.cgroup(record).pids(), ps_args)
        self._events.container("top", record)
        return table

    def changes(self, ref: str) -> tuple[tuple[int, str], ...]:
        record = self.get(ref)
        return list_changes(self._snapshots, record.id, record.created_mountpoints)

    def stats(self, ref: str) -> StatsSample | None:
        return sample(self._launcher, self.get(ref))

    def logs(self, ref: str) -> LogReader:
        return LogReader(log_settings(self.get(ref)))

    def log_details(self, ref: str) -> dict[str, str]:
        return log_attributes(self.get(ref))

    # --- life ------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        *,
        platform: str = "",
        host_ca: bool | None = None,
        places: Mapping[str, str] = NO_PLACES,
    ) -> Created:
        return self._creator.create(name, config, host, networking, platform, host_ca, places)

    def start(self, ref: str) -> None:
        self._lifecycle.start(self._table.find(ref))

    def stop(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        self._lifecycle.stop(self._table.find(ref), timeout, signal)

    def restart(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        entry = self._table.find(ref)
        with suppress(NotModified):
            self._lifecycle.stop(entry, timeout, signal)
        self._lifecycle.start(entry)
        self._events.container("restart", entry.record)

    def kill(self, ref: str, *, signal: str = "SIGKILL") -> None:
        self._lifecycle.kill(self._table.find(ref), signal)

    def pause(self, ref: str) -> None:
        self._lifecycle.pause(self._table.find(ref))

    def unpause(self, ref: str) -> None:
        self._lifecycle.unpause(self._table.find(ref))

    def rename(self, ref: str, name: str) -> None:
        entry = self._table.find(ref)
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        with entry.lock:
            old = entry.record.name
            if name.removeprefix("/") == old:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            new = self._table.reserve_name(name, entry.id)
            self._table.save(entry, msgspec.structs.replace(entry.record, name=new))
            self._table.release_name(old, entry.id)
            self._launcher.renamed(entry.record)
            self._events.container("rename", entry.record, oldName=f"/{old}")

    def update(
        self, ref: str, wanted: HostConfig, changes: ContainerChanges = _NO_CHANGES
    ) -> tuple[str, ...]:
        return self.updater.update(ref, wanted, changes)

    def resize(self, ref: str, rows: int, columns: int) -> None:
        entry = self._table.find(ref)
        process = entry.process
        if process is None:
            raise Conflict(f"container {entry.id} is not running")
        process.resize(rows, columns)
        self._events.container("resize", entry.record, height=str(rows), width=str(columns))

    def wait(self, ref: str, condition: Condition = "not-running") -> Future[WaitResult]:
        return self._table.find(ref).wait(condition)

    def attach(self, ref: str, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
        entry = self._table.find(ref)
        with entry.lock:
            record = entry.record
            _check_attachable(record)
            stdin = stdin and record.config.open_stdin
            if entry.process is not None:
                ours = entry.process.attach(stdin=stdin, stdout=stdout, stderr=stderr)
            else:
                ours = _await_start(entry, stdin, stdout, stderr)
        self._events.container("attach", record)
        return ours

    def detached(self, ref: str) -> None:
        self._events.container("detach", self.get(ref))

    # --- removal ---------------------------------------------------------------------------

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        entry = self._table.find(ref)
        if entry.record.state.running:
            if not force:
                raise Conflict(
                    f'cannot remove container "/{entry.record.name}": container is '
                    f"{entry.record.state.status}: stop the container before removing or force "
                    "remove"
                )
            self._lifecycle.end_now(entry)
            if entry.record.host.auto_remove:
                self._auto_remove(entry)
                return
        self._remove(entry, volumes)

    def _auto_remove(self, entry: Entry) -> None:
        # The user's own `docker rm -f` ends such a container, and either may be faster.
        with suppress(NotFound, Conflict):
            self._remove(entry, volumes=True)

    def _remove(self, entry: Entry, volumes: bool) -> None:
        with entry.lock:
            record = entry.record
            if record.state.status == "removing":
                raise Conflict(f"removal of container {record.name} is already in progress")
            if record.state.running:
                raise Conflict(f"container {record.name} was started again: try once more")
            state = msgspec.structs.replace(record.state, status="removing")
            self._table.set_state(entry, state)
            reach("remove.marked")
            self._drop(entry, volumes)
        result = WaitResult(exit_code=record.state.exit_code)
        self._events.container("destroy", record)
        entry.waiters.removed(result)

    def _drop(self, entry: Entry, volumes: bool) -> None:
        """Free everything a container had; each step may have been done by an earlier attempt."""
        record = entry.record
        pending = entry.take_pending_attach()
        if pending:
            pending.stream.close()
        with suppress(NotFound):
            self._snapshots.remove(record.id)
        reach("remove.snapshot")
        self._volumes.release(record.id)
        if volumes:
            self._remove_anonymous(record)
        reach("remove.volumes")
        shutil.rmtree(self._settings.container_dir(record.id), ignore_errors=True)
        reach("remove.directory")
        self._launcher.forget(record.id)
        reach("remove.runtime")
        self._table.discard(entry)
        reach("remove.forgotten")

    def _remove_anonymous(self, record: Container) -> None:
        for mount in record.mounts:
            if mount.anonymous:
                with suppress(NotFound, Conflict):
                    self._volumes.remove(mount.name)

    def finish_removals(self) -> None:
        """Complete what a crash interrupted."""
        for entry in self._table:
            if entry.record.state.status == "removing":
                self._drop(entry, volumes=entry.record.host.auto_remove)

    def prune(self, filters: Filters = NO_FILTERS) -> PruneReport:
        removed: list[str] = []
        reclaimed = 0
        for entry in prunable(self._table, filters, PRUNE_FILTERS):
            with suppress(NotFound, Conflict):
                size = self._snapshots.usage(entry.id).size
                self._remove(entry, volumes=False)
                removed.append(entry.id)
                reclaimed += size
        return PruneReport(removed=tuple(removed), reclaimed=reclaimed)


def _check_attachable(record: Container) -> None:
    if record.state.status == "paused":
        raise Conflict(f"container {record.id} is paused, unpause the container before attach")
    if record.state.status == "restarting":
        raise Conflict(f"container {record.id} is restarting, wait until the container is running")


def _await_start(entry: Entry, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
    """A stream that the next start makes live. One client can wait for it, until it goes away;
    the stream of any further one is at its end."""
    pending = entry.pending_attach
    if pending is not None and is_hung_up(pending.stream):
        pending.stream.close()
        pending = None
    ours, theirs = socket.socketpair()
    if pending is None and entry.record.state.status in ("created", "exited"):
        entry.pending_attach = PendingAttach(theirs, stdin, stdout, stderr)
    else:
        theirs.close()
    return ours
