"""What another runtime is shown of a container whose users are not the host's (``--userns-remap``).

Its files have other owners on disk, see :mod:`wherry.runtime.ops.mapped_root`. Not every runtime
can map them (runc since 1.2, and no root), so that the mounts are made here, in the mount namespace
that only the program sees, and are plain ones to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import msgspec

from wherry.model.runtime_spec import IdMapping, Linux, Mount, Spec
from wherry.runtime.ops.mapped_root import mapped_overlay
from wherry.runtime.ops.mounts import BindMount, mount_root
from wherry.runtime.plan.mount_options import parse_options
from wherry.snapshot.api import OverlayMount
from wherry.sys import mount as m

_PLACES = "mapped"
_MAPPING = frozenset({"idmap", "ridmap"})


def mount_for(linux: Linux, root: str, overlay: OverlayMount | None) -> None:
    """Mount the root file system on a directory, with the container's owners."""
    if overlay is None or not linux.uid_mappings:
        mount_root(root, overlay)
        return
    _place(mapped_overlay(overlay, linux.uid_mappings, linux.gid_mappings), root)


def with_plain_mounts(spec: Spec, bundle: str) -> Spec:
    """The configuration without id-mapped mounts, whose sources have been mounted, mapped, below
    the bundle."""
    if not any(mount.uid_mappings for mount in spec.mounts):
        return spec
    os.mkdir(os.path.join(bundle, _PLACES), 0o711)
    return msgspec.structs.replace(spec, mounts=tuple(_plain(spec, bundle)))


def _plain(spec: Spec, bundle: str) -> Iterator[Mount]:
    none: tuple[IdMapping, ...] = ()
    for number, mount in enumerate(spec.mounts):
        if not mount.uid_mappings:
            yield mount
            continue
        place = os.path.join(bundle, _PLACES, str(number))
        _show(mount, place)
        yield msgspec.structs.replace(
            mount,
            source=place,
            options=tuple(option for option in mount.options if option not in _MAPPING),
            uid_mappings=none,
            gid_mappings=none,
        )


def _show(mount: Mount, place: str) -> None:
    options = parse_options(mount.options)
    maps = (mount.uid_mappings, mount.gid_mappings)
    tree = BindMount(mount.source, mount.destination, options, *maps).detached()
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _place(tree, place)


def _place(tree: int, path: str) -> None:
    m.attach_at(tree, path)
    os.close(tree)
