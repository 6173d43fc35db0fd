"""Copies of volumes: as archives, as other volumes, and as snapshots, which are volumes as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO

from wherry.engine.containers.lifecycle import Lifecycle
from wherry.engine.events import Events
from wherry.engine.table import ContainerTable
from wherry.engine.volume_api import NO_LABELS, SNAPSHOT_OF
from wherry.errors import Conflict, NotFound, WherryError
from wherry.fs.compress import Decompressed
from wherry.fs.copy import copy_tree
from wherry.fs.streams import batched
from wherry.fs.tar.entry import BadArchive
from wherry.fs.tar.pack import pack_tree
from wherry.fs.tar.unpack import extract
from wherry.volume.api import Volume, Volumes


class VolumeBackups:
    """Implements ``engine.volume_api.VolumeBackupApi``."""

    def __init__(
        self, volumes: Volumes, table: ContainerTable, lifecycle: Lifecycle, events: Events
    ) -> None:
        self._volumes = volumes
        self._table = table
        self._lifecycle = lifecycle
        self._events = events

    def export(self, name: str, output: Callable[[bytes], None], *, pause: bool = False) -> None:
        with self._held(name, pause) as content:
            for piece in batched(pack_tree(content, include_start=True, holes=True)):
                output(piece)
        self._tell("export", name)

    def import_volume(self, name: str, archive: BinaryIO) -> Volume:
        with self._made(name) as volume:
            stream = Decompressed(archive)
            if stream.is_empty:  # as from an export that failed, at the other end of a pipe
                raise BadArchive("there is no archive to import: not one byte was sent")
            self._volumes.fill(volume.name, lambda target: extract(stream, target))
        self._tell("import", name)
        return volume

    def clone(
        self,
        name: str,
        new: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        *,
        pause: bool = False,
    ) -> Volume:
        if new and self._exists(new):
            raise Conflict(f"a volume with the name {new} exists already: choose another name")
        with self._held(name, pause) as content, self._made(new, labels) as volume:
            self._volumes.fill(volume.name, lambda target: copy_tree(content, target))
        self._tell("clone", name, clone=volume.name)
        return volume

    def snapshot(self, name: str, snapshot: str = "", *, pause: bool = False) -> Volume:
        made = snapshot or f"{name[:200]}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        number = 1
        while not snapshot and self._exists(made):
            number += 1
            made = f"{made.rpartition('Z')[0]}Z-{number}"
        return self.clone(name, made, {SNAPSHOT_OF: name}, pause=pause)

    def snapshots(self, name: str) -> tuple[Volume, ...]:
        found = [v for v in self._volumes.list() if v.labels.get(SNAPSHOT_OF) == name]
        return tuple(sorted(found, key=lambda volume: volume.created_ns))

    def _exists(self, name: str) -> bool:
        with suppress(NotFound):
            self._volumes.get(name)
            return True
        return False

    @contextmanager
    def _made(self, name: str, labels: Mapping[str, str] = NO_LABELS) -> Iterator[Volume]:
        """A volume to be filled; one that was made for it goes away again if that fails."""
        existed = bool(name) and self._exists(name)
        volume = self._volumes.create(name or None, labels=dict(labels))
        try:
            yield volume
        except BaseException:
            if not existed:
                with suppress(WherryError):
                    self._volumes.remove(volume.name)
            raise

    @contextmanager
    def _held(self, name: str, pause: bool) -> Iterator[int]:
        """A volume's content, with its users standing still if that is asked for."""
        with ExitStack() as held:
            if pause:
                self._pause_users(name, held)
            yield held.enter_context(self._volumes.content(name))

    def _pause_users(self, name: str, held: ExitStack) -> None:
        """Those that run; who is paused already stays so."""
        for container_id in self._volumes.users(name):
            with suppress(NotFound, Conflict):
                entry = self._table.find(container_id)
                self._lifecycle.pause(entry)
                held.callback(self._go_on, container_id)

    def _go_on(self, container_id: str) -> None:
        with suppress(NotFound, Conflict):
            self._lifecycle.unpause(self._table.find(container_id))

    def _tell(self, action: str, name: str, **attributes: str) -> None:
        self._events.emit("volume", action, name, {"driver": "local", **attributes})
