"""The root, and images that are mounted, of a container whose users are not the host's.

Layers keep on disk the owners that their image gives, whoever uses them. The container gets them
through an id-mapped mount, so that its root owns what belongs to 0 on disk, and what it writes is
owned so again: the engine's own view of the tree needs no translation. Since overlayfs makes files
of its own in its work directory, as the host's root, that one is mapped, too, to an id that nobody
has (Linux 5.19: overlayfs on id-mapped mounts).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from wherry.errors import InternalError, NotFound, NotSupported
from wherry.model.runtime_spec import IdMapping
from wherry.runtime.ops.base import DetachedOp, Setup
from wherry.runtime.ops.idmap import user_namespace
from wherry.runtime.ops.rooted import make_in
from wherry.snapshot.api import OverlayMount
from wherry.sys import mount as m
from wherry.sys.namespaces import CLONE_NEWNS, setns, unshare
from wherry.sys.overlay import mount_overlay, mount_overlay_at
from wherry.sys.trees import clone_below

NOBODYS = 2**32 - 2
"""The last id that there is; on disk, the owner of overlayfs's own files."""

# Directories that there always are, covered in a mount namespace that ends at once. Not /proc, by
# which descriptors are named.
_PLACE = "/sys"
_SECOND_PLACE = "/dev"


class MountMappedRoot(DetachedOp, frozen=True):
    """Mount the layers, made by the parent, where the container's processes find their root."""

    overlay: OverlayMount
    uid_mappings: tuple[IdMapping, ...]
    gid_mappings: tuple[IdMapping, ...]

    def describe(self) -> str:
        return "mount the root file system with the container's owners"

    def detached(self) -> int:
        """The mount, which nobody sees yet. Only for a process with a single thread."""
        return mapped_overlay(self.overlay, self.uid_mappings, self.gid_mappings)

    def execute(self, setup: Setup) -> None:
        """Mount it over the root that the process has, whose paths go on to lead to the host's
        files: the container's root has no way to the bundle, and needs none."""
        tree = _made(self, setup)
        place = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        m.attach(tree, place)
        os.close(place)
        setup.root_fd = tree


class MountMappedLayers(DetachedOp, frozen=True):
    """Mount an image's layers, read-only, or what is at a path in them."""

    layers: tuple[str, ...]
    target: str
    uid_mappings: tuple[IdMapping, ...]
    gid_mappings: tuple[IdMapping, ...]
    subpath: str = ""

    def describe(self) -> str:
        return f"mount an image on {self.target}"

    def detached(self) -> int:
        """See :class:`MountMappedRoot`."""
        overlay = OverlayMount(lower=self.layers)
        try:
            tree = mapped_overlay(overlay, self.uid_mappings, self.gid_mappings, self.subpath)
        except FileNotFoundError:
            raise NotFound(f"the image on {self.target} has no {self.subpath!r}") from None
        m.mount_setattr(tree, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
        return tree

    def execute(self, setup: Setup) -> None:
        tree = _made(self, setup)
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        target = make_in(setup.root_fd, self.target, directory=directory, created=setup.created)
        m.attach(tree, target)
        os.close(target)
        os.close(tree)


def mapped_overlay(
    overlay: OverlayMount,
    uids: Sequence[IdMapping],
    gids: Sequence[IdMapping],
    subpath: str = "",
) -> int:
    """A detached mount of layers, or of what is at a path in them, whose owners are mapped."""
    users = user_namespace(_with_root(uids), _with_root(gids))
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNS)
        try:
            return _mount(overlay, users, subpath)
        finally:
            setns(home, CLONE_NEWNS)
    finally:
        os.close(home)
        os.close(users)


def _mount(overlay: OverlayMount, users: int, subpath: str) -> int:
    """In a mount namespace of this process's own."""
    m.mount("", "/", "", m.MS_REC | m.MS_PRIVATE)
    base = os.path.commonpath(_directories(overlay))
    _mount_base(base, users)
    whole = _overlay(_below(overlay, base))
    if not subpath:
        return whole
    place = os.open(_SECOND_PLACE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return clone_below(whole, subpath, place)
    finally:
        os.close(place)
        os.close(whole)


def _mount_base(base: str, users: int) -> None:
    tree = m.open_tree(m.AT_FDCWD, base, m.OPEN_TREE_CLONE)
    try:
        m.mount_setattr(tree, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_IDMAP, userns_fd=users)
        m.attach_at(tree, _PLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        raise NotSupported(
            f"the owners of the files in {base} cannot be mapped: its file system, or this "
            "kernel, has no id-mapped mounts"
        ) from None
    finally:
        os.close(tree)


def _made(op: DetachedOp, setup: Setup) -> int:
    """What the parent has made for an operation."""
    tree = setup.prepared.trees.pop(op, None)
    if tree is None:
        raise InternalError(f"cannot {op.describe()}: it was not made beforehand")
    return tree


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
    if overlay.upper is None and len(overlay.lower) == 1:  # overlayfs refuses a single one
        return m.open_tree(m.AT_FDCWD, overlay.lower[0], m.OPEN_TREE_CLONE)
    try:
        return mount_overlay(overlay.lower, overlay.upper, overlay.work, label=overlay.label)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Before Linux 6.5.
    mount_overlay_at(_PLACE, overlay.lower, overlay.upper, overlay.work, overlay.label)
    return m.open_tree(m.AT_FDCWD, _PLACE, m.OPEN_TREE_CLONE)
