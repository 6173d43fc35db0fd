"""From a container's record to a running process: network, name files, bundle, runtime.

Used for containers and for the RUN steps of builds, which are containers without a table entry.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress

import msgspec

from wherry.cgroup.api import Cgroup, Cgroups
from wherry.engine.containers.bundle import Bundle, BundleMaker
from wherry.engine.containers.groups import group_path
from wherry.engine.containers.runtimes import check_mounts, external_runtime
from wherry.engine.host.user_namespaces import check_users
from wherry.engine.logs.options import log_settings
from wherry.engine.mounts.sources import MountSources
from wherry.engine.networks.networking import Connection, Networking
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.table import PendingAttach
from wherry.errors import Conflict, NotFound, WherryError
from wherry.network.api import Endpoint, PublishedPort
from wherry.runtime.api import Process, Runtime, StartRequest
from wherry.snapshot.api import Snapshotter
from wherry.sys.faults import reach

_SOCKETS_AT_START = 200
"""One message takes about 250 descriptors; those of further ports follow."""

_MOST_TRIES = 100
"""Of removing a run's directory, before it is left to the next engine."""


class Launched(msgspec.Struct, frozen=True):
    process: Process
    endpoints: dict[str, Endpoint]
    ports: tuple[PublishedPort, ...]
    apparmor_profile: str


class Launcher:
    """Starts what a record describes; after an error nothing of the start is left."""

    def __init__(
        self,
        settings: EngineSettings,
        runtime: Runtime,
        cgroups: Cgroups,
        snapshots: Snapshotter,
        networking: Networking,
        bundles: BundleMaker,
        sources: MountSources,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._cgroups = cgroups
        self._snapshots = snapshots
        self._networking = networking
        self._bundles = bundles
        self._sources = sources

    def launch(
        self, record: Container, attach: PendingAttach | None, *, snapshot: str = ""
    ) -> Launched:
        """Start a container on its own snapshot (``snapshot`` names another one)."""
        key = snapshot or record.id
        with ExitStack() as undo:
            if attach:
                # The monitor has its own copy; ours would keep the stream open for ever.
                undo.callback(attach.stream.close)
            self.forget(record.id)  # of a run whose end could not be written down
            undo.callback(self.forget, record.id)
            check_mounts(self._settings, record)
            check_users(self._settings, record.host)
            prepared = self._sources.open(record)
            undo.callback(self._sources.close, record.id)
            connection = self._networking.connect(record)
            undo.callback(self._networking.disconnect, connection.endpoints.values())
            reach("start.connected")
            try:
                bundle = self._bundles.write(prepared, connection, key)
                reach("start.bundled")
                request = self._request(record, bundle, key, attach)
                # What is left if a starter is killed, which could not say that it failed.
                undo.callback(self.clean_up, record)
                process = self._runtime.start(request, _descriptors(attach, connection))
                reach("start.answered")
                with suppress(Conflict):  # it has ended already
                    process.hold(connection.sockets[_SOCKETS_AT_START:])
                self._networking.started(record.id, process.pid)
            finally:
                connection.close()
            undo.pop_all()
        if attach:
            attach.stream.close()
        return Launched(process, connection.endpoints, connection.ports, bundle.apparmor_profile)

    def _request(
        self, record: Container, bundle: Bundle, key: str, attach: PendingAttach | None
    ) -> StartRequest:
        state_dir = os.path.join(self._settings.runtime_dir(record.id), "state")
        os.makedirs(state_dir, mode=0o700)
        streams = (attach.stdin, attach.stdout, attach.stderr) if attach else (False, True, True)
        return StartRequest(
            id=record.id,
            bundle=bundle.path,
            state_dir=state_dir,
            rootfs=msgspec.structs.replace(self._snapshots.mounts(key), label=bundle.labels.mount),
            log=log_settings(record),
            open_stdin=record.config.open_stdin,
            stdin_once=record.config.stdin_once,
            console_size=_console_size(record),
            attach=attach is not None,
            attach_streams=streams,
            netns=record.host.network_mode != "host",
            external=external_runtime(self._settings, record),
            systemd_cgroup=self._settings.systemd_cgroups,
        )

    def cgroup_path(self, record: Container) -> str:
        return group_path(self._settings, record.host.cgroup_parent, record.id)

    def cgroup(self, record: Container) -> Cgroup:
        return self._cgroups.open(self.cgroup_path(record))

    def resume(self, records: Iterable[Container]) -> None:
        """After an engine's restart: go on with what running containers need of the engine."""
        running = list(records)
        self._sources.resume(running)
        self._networking.resume(running)

    def renamed(self, record: Container) -> None:
        """A container has another name."""
        self._networking.renamed(record)

    def release(self, record: Container) -> None:
        """Give back what a run that has ended had."""
        self.release_network(record)
        self.forget(record.id)

    def release_network(self, record: Container) -> None:
        """The part of it that others may want: addresses, names, ports."""
        self._networking.disconnect(record.endpoints.values())
        self._sources.close(record.id)

    def clean_up(self, record: Container) -> None:
        """Kill and remove what a monitor that died could not: the processes and their group."""
        self._remove_cgroup(self.cgroup_path(record))

    def abandon(self, record: Container) -> None:
        """End a start whose engine was killed before it recorded it, wherever it has got to."""
        self._abandon(record.id, self.cgroup_path(record))

    def drop_strangers(self, ids: Iterable[str]) -> None:
        """The same for containers of which only the id is known."""
        for container_id in ids:
            self._abandon(container_id, group_path(self._settings, "", container_id))

    def _abandon(self, container_id: str, cgroup: str) -> None:
        """A starter may still be at work. Without the directory it fails, unless it has done all
        that it does there, and then the group is made and the process in it."""
        self.forget(container_id)
        self._remove_cgroup(cgroup)
        self.forget(container_id)

    def _remove_cgroup(self, path: str) -> None:
        # The monitor of a process that has just ended may be removing it, too.
        with suppress(NotFound, FileNotFoundError, WherryError):
            group = self._cgroups.open(path)
            group.kill()
            group.remove()

    def forget(self, container_id: str) -> None:
        """Drop what is remembered of a run. An exec that begins meanwhile finds no directory."""
        place = self._settings.runtime_dir(container_id)
        doomed = f"{place}.{os.urandom(4).hex()}"
        with suppress(FileNotFoundError):
            os.rename(place, doomed)
            _remove(doomed)


def _remove(directory: str) -> None:
    """Remove the directory of a run. Monitors of its execs may be writing down their ends there,
    each once, so that a directory is not empty which was."""
    for _ in range(_MOST_TRIES):
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.lexists(directory):
            return


def _descriptors(attach: PendingAttach | None, connection: Connection) -> list[int]:
    """The descriptors of a start, in the order the runtime's seam names."""
    descriptors = [attach.stream.fileno()] if attach else []
    if connection.netns_fd is not None:
        descriptors.append(connection.netns_fd)
    return [*descriptors, *connection.sockets[:_SOCKETS_AT_START]]


def _console_size(record: Container) -> tuple[int, int] | None:
    size = record.host.console_size
    return size if size and any(size) else None
