"""The root of a container whose users are not the host's.

Layers keep on disk the owners that their image gives, whoever uses them. The container gets them
through an id-mapped mount, so that its root owns what belongs to 0 on disk, and what it writes is
owned so again: the engine's own view of the tree needs no translation. Since overlayfs makes files
of its own in its work directory, as the host's root, that one is mapped, too, to an id that nobody
has (Linux 5.19: overlayfs on id-mapped mounts).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from wherry.errors import InternalError, NotSupported
from wherry.model.runtime_spec import IdMapping
from wherry.runtime.ops.base import DetachedOp, Setup
from wherry.runtime.ops.idmap import user_namespace
from wherry.snapshot.api import OverlayMount
from wherry.sys import mount as m
from wherry.sys.namespaces import CLONE_NEWNS, setns, unshare
from wherry.sys.overlay import mount_overlay, mount_overlay_at

NOBODYS = 2**32 - 2
"""The last id that there is; on disk, the owner of overlayfs's own files."""

_PLACE = "/proc"  # any directory serves: it is covered in a mount namespace that ends at once


class MountMappedRoot(DetachedOp, frozen=True):
    """Mount the layers, made by the parent, where the container's processes find their root."""

    overlay: OverlayMount
    uid_mappings: tuple[IdMapping, ...]
    gid_mappings: tuple[IdMapping, ...]

    def describe(self) -> str:
        return "mount the root file system with the container's owners"

    def detached(self) -> int:
        """The mount, which nobody sees yet. Only for a process with a single thread."""
        users = user_namespace(_with_root(self.uid_mappings), _with_root(self.gid_mappings))
        home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            unshare(CLONE_NEWNS)
            try:
                return self._mount(users)
            finally:
                setns(home, CLONE_NEWNS)
        finally:
            os.close(home)
            os.close(users)

    def _mount(self, users: int) -> int:
        m.mount("", "/", "", m.MS_REC | m.MS_PRIVATE)
        base = os.path.commonpath(_directories(self.overlay))
        tree = m.open_tree(m.AT_FDCWD, base, m.OPEN_TREE_CLONE)
        try:
            m.mount_setattr(tree, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_IDMAP, userns_fd=users)
            m.move_mount(tree, "", m.AT_FDCWD, _PLACE, m.MOVE_MOUNT_F_EMPTY_PATH)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            raise NotSupported(
                f"the owners of the files in {base} cannot be mapped: its file system, or this "
                "kernel, has no id-mapped mounts"
            ) from None
        finally:
            os.close(tree)
        return _overlay(_below(self.overlay, base))

    def execute(self, setup: Setup) -> None:
        """Mount it over the root that the process has, whose paths go on to lead to the host's
        files: the container's root has no way to the bundle, and needs none."""
        tree = setup.prepared.trees.pop(self, None)
        if tree is None:
            raise InternalError("the container's root was not made beforehand")
        place = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        m.attach(tree, place)
        os.close(place)
        setup.root_fd = tree


def _with_root(mappings: Sequence[IdMapping]) -> tuple[IdMapping, ...]:
    if any(not one.host_id for one in mappings):
        return tuple(mappings)
    return (*mappings, IdMapping(container_id=NOBODYS, host_id=0, size=1))


def _directories(overlay: OverlayMount) -> list[str]:
    return [*overlay.lower, *(one for one in (overlay.upper, overlay.work) if one)]


def _below(overlay: OverlayMount, base: str) -> OverlayMount:
    """The same mount of what is now at the place instead of ``base``."""

    def moved(path: str) -> str:
        return os.path.normpath(os.path.join(_PLACE, os.path.relpath(path, base)))

    return OverlayMount(
        lower=tuple(map(moved, overlay.lower)),
        upper=moved(overlay.upper) if overlay.upper else None,
        work=moved(overlay.work) if overlay.work else None,
        label=overlay.label,
    )


def _overlay(overlay: OverlayMount) -> int:
    try:
        return mount_overlay(overlay.lower, overlay.upper, overlay.work, label=overlay.label)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Before Linux 6.5.
    mount_overlay_at(_PLACE, overlay.lower, overlay.upper, overlay.work, overlay.label)
    return m.open_tree(m.AT_FDCWD, _PLACE, m.OPEN_TREE_CLONE)
