"""Where the sources of a container's mounts are while it runs.

A record says what was asked for: a volume by its name, an image by its id. Whoever mounts them
asks here for the directories, and says when they are needed no more: the file system of a volume
is mounted for the first user and taken away after the last.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wherry.engine.events import Events
from wherry.engine.records import Container, MountPoint
from wherry.errors import InvalidArgument
from wherry.model.digest import Digest, short
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Images
from wherry.volume.api import Volumes


class MountSources:
    """Opens sources for users: containers that run, and whoever reads a stopped one's files."""

    def __init__(
        self, volumes: Volumes, images: Images, snapshots: Snapshotter, events: Events
    ) -> None:
        self._volumes = volumes
        self._images = images
        self._snapshots = snapshots
        self._events = events
        self._told: dict[str, Container] = {}  # by user: whose volumes were told to be mounted

    def open(self, record: Container, user: str = "") -> Container:
        """The record with mounts as they are to be made now. The user (the container itself, if
        not given) has the sources until :meth:`close`; after an error it has none."""
        user = user or record.id
        try:
            mounts = tuple(self._source(mount, user) for mount in record.mounts)
        except BaseException:
            self.close(user)
            raise
        self._tell_mounted(record, user)
        return msgspec.structs.replace(record, mounts=mounts)

    def _source(self, mount: MountPoint, user: str) -> MountPoint:
        if mount.type == "volume":
            return self._volume(mount, user)
        if mount.image_id is not None:
            return msgspec.structs.replace(mount, layers=self._layers(mount.image_id))
        return mount

    def _layers(self, image_id: Digest) -> tuple[str, ...]:
        image = self._images.get(image_id)
        if image.chain_id is None:
            raise InvalidArgument(f"the image {short(image_id)} has no files to mount")
        return self._snapshots.mounts(image.chain_id).lower

    def _volume(self, mount: MountPoint, user: str) -> MountPoint:
        source = self._volumes.attach(mount.name, user)
        return msgspec.structs.replace(
            mount,
            source=source.path,
            recursive=source.recursive,
            rw=mount.rw and not source.read_only,
            id_map=source.id_map,
        )

    def close(self, user: str) -> None:
        """A user needs its sources no more. Idempotent."""
        self._volumes.detach(user)
        record = self._told.pop(user, None)
        if record is None:
            return
        for mount in _of_volumes(record):
            about = {"container": record.id, "driver": mount.driver}
            self._events.emit("volume", "unmount", mount.name, about)

    def _tell_mounted(self, record: Container, user: str) -> None:
        self._told[user] = record
        for mount in _of_volumes(record):
            about = {
                "container": record.id,
                "destination": mount.destination,
                "driver": mount.driver,
                "propagation": mount.propagation,
                "read/write": str(mount.rw).lower(),
            }
            self._events.emit("volume", "mount", mount.name, about)

    def resume(self, records: Iterable[Container]) -> None:
        """After an engine's restart: these containers go on, nobody else does."""
        users: dict[str, list[str]] = {}
        for record in records:
            self._told[record.id] = record
            for mount in _of_volumes(record):
                users.setdefault(mount.name, []).append(record.id)
        self._volumes.reconcile(users)


def _of_volumes(record: Container) -> list[MountPoint]:
    return [mount for mount in record.mounts if mount.type == "volume"]
