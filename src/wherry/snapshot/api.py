"""The seam between those who need trees of files and those who keep them.

The names are containerd's: an *active* snapshot is writable and has a key chosen by its owner
(a container's id, a build step); a *committed* one is immutable and has a name (the chain id of
its layers). A committed snapshot may be the parent of any number of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import msgspec


class OverlayMount(msgspec.Struct, frozen=True, kw_only=True):
    """An overlayfs mount, described and not yet made.

    ``lower`` holds absolute directories, topmost first. Without ``upper`` and ``work`` the tree
    is read-only. The runtime makes the mount inside the container's own mount namespace, so that
    nothing is ever mounted on the host. ``label`` is SELinux's for all of its files; empty: those
    that they have on disk.
    """

    lower: tuple[str, ...]
    upper: str | None = None
    work: str | None = None
    label: str = ""


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    kind: Literal["active", "committed"]
    parent: str | None
    created_ns: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Disk use of one snapshot's own changes: allocated bytes and inodes."""

    size: int
    inodes: int


class Snapshotter(Protocol):
    """Keeps trees of files. Every method is atomic: after a crash it happened or it did not."""

    def prepare(self, key: str, parent: str | None) -> OverlayMount:
        """Make an active snapshot on a committed parent (or on nothing).

        Conflict if the key exists, NotFound if the parent is not a committed snapshot.
        """
        ...

    def mounts(self, key: str) -> OverlayMount:
        """How to mount a snapshot: writable if active, read-only if committed. NotFound."""
        ...

    def open_root(self, key: str) -> int:
        """A descriptor of the snapshot's merged tree, on a detached mount that ends with it.

        Writable if active. An active snapshot must not be in use by a running container at the
        same time (overlayfs forbids two users of one upper directory): use the container's own
        ``/proc/PID/root`` then. The caller closes it.
        """
        ...

    def changes_dir(self, key: str) -> str:
        """The directory that holds a snapshot's own changes (overlay ``upper``)."""
        ...

    def commit(self, key: str, name: str) -> None:
        """Turn an active snapshot into the committed one called ``name``, without copying.

        If ``name`` is already committed the active one is dropped and the call succeeds: the
        content of a name is its chain id, so both are the same.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove a snapshot. NotFound; Conflict while another one has it as its parent."""
        ...

    def stat(self, key: str) -> SnapshotInfo:
        """NotFound if there is none."""
        ...

    def usage(self, key: str) -> Usage: ...

    def list(self) -> Iterator[SnapshotInfo]: ...
