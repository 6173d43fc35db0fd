"""Taking up, at the engine's start, what an earlier engine process left.

Containers that run are adopted; those that ended meanwhile get their exit code from the record
that their monitor wrote; those of before a reboot, of which nothing is known, are marked as ended.
A start of which nothing was recorded is undone: nobody was told of it. Then the networks drop what
belongs to nobody, and containers whose policy says so are started.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from wherry.engine.containers.launch import Launcher
from wherry.engine.containers.lifecycle import Lifecycle
from wherry.engine.containers.restart import starts_with_engine
from wherry.engine.containers.start_order import in_order
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import WherryError
from wherry.network.api import Endpoint, Networks
from wherry.runtime.api import ExitStatus, Process, Runtime
from wherry.snapshot.api import Snapshotter
from wherry.volume.api import Volumes

_LOG = logging.getLogger(__name__)
_IS_ID = re.compile(r"[0-9a-f]{64}")
_ASKED_AT_A_TIME = 16
_UNKNOWN_EXIT = 255
"""The exit code of a container of whose end nothing is known, as Docker reports it."""


def reconcile(
    settings: EngineSettings,
    table: ContainerTable,
    runtime: Runtime,
    lifecycle: Lifecycle,
    launcher: Launcher,
    networks: Networks,
    snapshots: Snapshotter,
    volumes: Volumes,
) -> None:
    """Bring records and reality together. Called once, before the first request."""
    to_start = [e for e in table if not _was_running(e) and starts_with_engine(e.record)]
    ended: list[tuple[Entry, ExitStatus]] = []
    _abandon_starts(settings, table, launcher)
    were_running = [entry for entry in table if _was_running(entry)]
    for entry, found in _find_processes(settings, runtime, were_running):
        status = _adopt(settings, runtime, lifecycle, entry, found)
        if status is not None:
            ended.append((entry, status))
    networks.reconcile(_live_endpoints(table))
    launcher.resume([entry.record for entry in table if entry.process is not None])
    for entry, status in ended:
        with entry.lock:
            launcher.clean_up(entry.record)
            lifecycle.record_exit(entry, status)
    _drop_strangers(settings, table, launcher, snapshots)
    _release_volumes({entry.id for entry in table}, volumes)
    # Without the delay of a restart: it would mix up the order.
    to_start += [entry for entry, _ in ended if entry.record.state.status == "restarting"]
    for entry in in_order(to_start, table.find):
        _start(lifecycle, entry)


def _was_running(entry: Entry) -> bool:
    return entry.record.state.running


def _abandon_starts(settings: EngineSettings, table: ContainerTable, launcher: Launcher) -> None:
    """A container has a runtime directory from the beginning of a start to the recorded end."""
    begun = _names(settings.runtime_dir(""))
    for entry in table:
        recorded = entry.record.state.status in ("running", "paused")
        if entry.id in begun and not recorded:
            launcher.abandon(entry.record)


def _find_processes(
    settings: EngineSettings, runtime: Runtime, entries: Sequence[Entry]
) -> Iterator[tuple[Entry, Process | ExitStatus | None]]:
    """What is left of runs. Each monitor has to wake up and answer, so many are asked at a time."""

    def find(entry: Entry) -> Process | ExitStatus | None:
        if entry.record.state.status == "restarting":
            return None
        return runtime.adopt(os.path.join(settings.runtime_dir(entry.id), "state"))

    with ThreadPoolExecutor(_ASKED_AT_A_TIME) as pool:
        yield from zip(entries, pool.map(find, entries), strict=True)


def _adopt(
    settings: EngineSettings,
    runtime: Runtime,
    lifecycle: Lifecycle,
    entry: Entry,
    found: Process | ExitStatus | None,
) -> ExitStatus | None:
    """Take up a container; how it ended if it did."""
    if found is None:
        return ExitStatus(code=_exit_code(entry.record), finished_ns=time.time_ns())
    if isinstance(found, ExitStatus):
        return found
    entry.process = found
    entry.generation += 1
    lifecycle.look_whether_paused(entry)
    lifecycle.watch(entry, found)
    lifecycle.after_start(entry)
    _forget_execs(settings, runtime, entry)
    return None


def _forget_execs(settings: EngineSettings, runtime: Runtime, entry: Entry) -> None:
    """Execs are forgotten with the engine that made them; their directories go when they end."""
    place = os.path.join(settings.runtime_dir(entry.id), "exec")
    for name in _names(place):
        directory = os.path.join(place, name)
        found = runtime.adopt(directory)
        if found is None or isinstance(found, ExitStatus):
            shutil.rmtree(directory, ignore_errors=True)
        else:
            found.on_exit(partial(_forget_exec, directory))


def _forget_exec(directory: str, _: ExitStatus) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _exit_code(record: Container) -> int:
    waiting = record.state.status == "restarting"
    return record.state.exit_code if waiting else _UNKNOWN_EXIT


def _live_endpoints(table: ContainerTable) -> list[Endpoint]:
    records = [entry.record for entry in table if entry.process is not None]
    return [endpoint for record in records for endpoint in record.endpoints.values()]


def _drop_strangers(
    settings: EngineSettings, table: ContainerTable, launcher: Launcher, snapshots: Snapshotter
) -> None:
    """Directories, cgroups and writable layers of containers that are not in the table:
    half-made ones."""
    known = {entry.id for entry in table}
    launcher.drop_strangers(_names(settings.runtime_dir("")) - known)
    for name in _names(settings.container_dir("")) - known:
        shutil.rmtree(settings.container_dir(name), ignore_errors=True)
    for info in list(snapshots.list()):
        # Builds and unpacking have other keys, and clean up after themselves.
        if info.kind == "active" and _IS_ID.fullmatch(info.key) and info.key not in known:
            snapshots.remove(info.key)


def _release_volumes(known: set[str], volumes: Volumes) -> None:
    """Those of half-made containers; the ones that had been made for them go, too."""
    for volume in volumes.list():
        strangers = set(volumes.users(volume.name)) - known
        for container_id in strangers:
            volumes.release(container_id)
        if strangers and volume.anonymous and not volumes.users(volume.name):
            volumes.remove(volume.name)


def _names(directory: str) -> set[str]:
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def _start(lifecycle: Lifecycle, entry: Entry) -> None:
    try:
        lifecycle.start(entry)
    except WherryError as error:
        _LOG.warning("container %s could not be started: %s", entry.record.name, error)
