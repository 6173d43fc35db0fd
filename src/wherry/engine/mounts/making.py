"""From planned mounts to mounts: what does not exist yet is made.

Those are volumes, and missing host directories of ``-v``. Empty volumes are filled from the image
(BEHAVIOURS: only a named or anonymous volume is filled, a bind never is).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.engine.mounts.planning import PlannedMount
from wherry.engine.records import MountPoint
from wherry.fs.root import Root
from wherry.model.users import UserMap
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Images
from wherry.volume.api import Volumes


class MountMaker:
    """Makes planned mounts real."""

    def __init__(self, volumes: Volumes, images: Images, snapshots: Snapshotter) -> None:
        self._volumes = volumes
        self._images = images
        self._snapshots = snapshots

    def make(
        self, plan: Iterable[PlannedMount], container_id: str, users: UserMap | None = None
    ) -> tuple[MountPoint, ...]:
        """The mounts as they will be reported; volumes are in use by the container afterwards.
        Directories of the host that are made belong to the root of the container's ``users``."""
        return tuple(self._make(mount, container_id, users) for mount in plan)

    def _make(self, mount: PlannedMount, container_id: str, users: UserMap | None) -> MountPoint:
        if mount.type == "volume":
            return self._volume(mount, container_id)
        image = self._images.get(mount.source) if mount.type == "image" else None
        if mount.create_source:
            _make_source(mount, users.root if users else (0, 0))
        return MountPoint(
            type=mount.type,
            source=mount.source,
            beneath=mount.beneath,
            destination=mount.destination,
            mode=mount.mode,
            rw=not mount.read_only,
            propagation=mount.propagation,
            recursive=mount.recursive,
            force_recursive_read_only=mount.force_recursive_read_only,
            read_only_below=mount.read_only_below,
            tmpfs=mount.tmpfs,
            subpath=mount.subpath,
            id_map=mount.id_map,
            image_id=image.id if image else None,
        )

    def _volume(self, mount: PlannedMount, container_id: str) -> MountPoint:
        volume = self._volumes.create(
            mount.source or None,
            driver=mount.driver,
            options=mount.driver_options,
            labels=mount.labels,
        )
        self._volumes.use(volume.name, container_id)
        return MountPoint(
            type="volume",
            name=volume.name,
            source=volume.path,
            destination=mount.destination,
            driver=volume.driver,
            mode=mount.mode,
            rw=not mount.read_only,
            anonymous=not mount.source,
            no_copy=mount.no_copy or bool(mount.subpath),
            subpath=mount.subpath,
        )

    def fill(self, container_id: str, mounts: Iterable[MountPoint]) -> None:
        """Fill volumes that are empty with what the container, which must not run, has in their
        place."""
        to_fill = [mount for mount in mounts if mount.type == "volume" and not mount.no_copy]
        if not to_fill:
            return
        root = self._snapshots.open_root(container_id)
        try:
            for mount in to_fill:
                self._volumes.populate(mount.name, root, mount.destination)
        finally:
            os.close(root)


def _make_source(mount: PlannedMount, owner: tuple[int, int]) -> None:
    if not mount.beneath:
        if not os.path.lexists(mount.source):
            _make_directories(mount.source, owner)
        return
    inside = os.path.relpath(mount.source, mount.beneath)
    if inside == ".":
        return
    with Root.at(mount.beneath) as place:
        if not place.exists(inside):
            place.makedirs(inside, owner=owner)


def _make_directories(path: str, owner: tuple[int, int]) -> None:
    """Make a directory and those above it that are missing."""
    above = os.path.dirname(path)
    if not os.path.lexists(above):
        _make_directories(above, owner)
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    os.chown(path, *owner, follow_symlinks=False)
