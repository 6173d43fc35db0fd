"""What the engine offers to back volumes up; part of :mod:`wherry.engine.api`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import BinaryIO, Protocol

from wherry.volume.api import Volume

SNAPSHOT_OF = "org.wherry.snapshot-of"
"""The label of a snapshot: the name of the volume that it shows."""

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class VolumeBackupApi(Protocol):
    """Copies of volumes. All take long. NotFound "no such volume"; with ``pause`` the containers
    that use the volume are paused meanwhile, so that the copy shows one moment."""

    def export(self, name: str, output: Callable[[bytes], None], *, pause: bool = False) -> None:
        """Write a tar of the content, with owners, xattrs, hard links and holes."""
        ...

    def import_volume(self, name: str, archive: BinaryIO) -> Volume:
        """Unpack a tar, compressed or not, in a volume that is empty, or that is made: all of it
        or nothing. Conflict if there is content; BadArchive."""
        ...

    def clone(
        self,
        name: str,
        new: str = "",
        labels: Mapping[str, str] = NO_LABELS,
        *,
        pause: bool = False,
    ) -> Volume:
        """A new volume with the same content, which shares its blocks where the file system can.
        Conflict if there is one called ``new``; without a name it gets one."""
        ...

    def snapshot(self, name: str, snapshot: str = "", *, pause: bool = False) -> Volume:
        """A clone that tells of which volume it is (:data:`SNAPSHOT_OF`); without a name it is
        called after the volume and the time."""
        ...

    def snapshots(self, name: str) -> tuple[Volume, ...]:
        """Those of one volume, which may be gone itself, oldest first."""
        ...
