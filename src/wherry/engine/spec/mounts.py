"""The mounts of a container, in Docker's order: the kernel's, then the user's by depth."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

import msgspec

from wherry.engine.records import MountPoint
from wherry.engine.spec.idmaps import Mappings, id_mappings
from wherry.engine.spec.inputs import NameFiles, SpecInputs
from wherry.engine.spec.remap import with_users
from wherry.engine.spec.security import parse_options
from wherry.errors import InvalidArgument
from wherry.model import docker_defaults as docker
from wherry.model.container import TmpfsOptions
from wherry.model.runtime_spec import LAYER_OPTION, SUBDIRECTORY_OPTION, Mount

_NO_MAPPINGS: Mappings = ((), ())
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_OPPOSITES = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}
_RECURSIVE_READ_ONLY_KERNEL = (5, 12)  # mount_setattr(2)

# Those stay writable in a container with a read-only root.
_ALWAYS_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})


def container_mounts(inputs: SpecInputs) -> tuple[Mount, ...]:
    """All mounts. What the user mounts takes the place of a default one."""
    asked = sorted(_asked(inputs), key=lambda mount: _depth(mount.destination))
    taken = {posixpath.normpath(mount.destination) for mount in asked}
    defaults = [_adapted(mount, inputs) for mount in _defaults(inputs)]
    mounts = (*(mount for mount in defaults if not _is_taken(mount.destination, taken)), *asked)
    if inputs.users is None:
        return mounts
    return tuple(with_users(mounts, inputs.users, inputs.own_files))


def _defaults(inputs: SpecInputs) -> Iterator[Mount]:
    yield from (docker.PROC, docker.DEV, docker.PTS, docker.SYS, docker.CGROUP)
    if inputs.users is None or inputs.host.ipc_mode != "host":  # which they have no power over
        yield docker.MQUEUE
    shm = _shm(inputs)
    if shm is not None:
        yield shm


def _shm(inputs: SpecInputs) -> Mount | None:
    mode = inputs.host.ipc_mode
    if mode == "none":
        return None
    shared = "/dev/shm" if mode == "host" else inputs.joined.shm
    if shared:
        return Mount(destination="/dev/shm", type="bind", source=shared, options=("rbind",))
    return docker.shm(inputs.host.shm_size or docker.SHM_SIZE)


def _is_taken(destination: str, taken: set[str]) -> bool:
    return destination in taken or ("/dev" in taken and destination.startswith("/dev/"))


def _adapted(mount: Mount, inputs: SpecInputs) -> Mount:
    """Privileged containers may write where others only read; a read-only root spares little."""
    options, writable = mount.options, inputs.host.privileged
    if mount == docker.CGROUP:
        asked = parse_options(inputs.host.security_opt or ()).writable_cgroups
        writable = writable if asked is None else asked
    if writable and mount.destination in ("/sys", "/sys/fs/cgroup"):
        options = tuple(option for option in options if option != "ro")
    elif inputs.host.readonly_rootfs and mount.destination not in _ALWAYS_WRITABLE:
        options = options if "ro" in options else (*options, "ro")
    return msgspec.structs.replace(mount, options=options)


def _asked(inputs: SpecInputs) -> Iterator[Mount]:
    targets = {posixpath.normpath(point.destination) for point in inputs.mounts}
    for mount in _name_files(inputs.name_files):
        if mount.destination not in targets:
            yield mount
    for point in inputs.mounts:
        yield _point(point, inputs)
    for target, text in (inputs.host.tmpfs or {}).items():
        yield _tmpfs(posixpath.normpath(target), text)
    yield from inputs.extra_mounts


def _name_files(files: NameFiles) -> Iterator[Mount]:
    paths = {
        "/etc/resolv.conf": files.resolv_conf,
        "/etc/hostname": files.hostname,
        "/etc/hosts": files.hosts,
    }
    for target, source in paths.items():
        if source:
            options = ("rbind", "rprivate")
            yield Mount(destination=target, type="bind", source=source, options=options)


def _point(point: MountPoint, inputs: SpecInputs) -> Mount:
    if point.type == "tmpfs":
        return _tmpfs_mount(point)
    if point.type == "image":
        return _image(point)
    return _bind(point, inputs)


def _bind(point: MountPoint, inputs: SpecInputs) -> Mount:
    """Docker's read-only binds have been read-only below, too, where the kernel can, since 25."""
    options = ["rbind" if point.recursive else "bind"]
    if not point.rw:
        can = inputs.facts.kernel >= _RECURSIVE_READ_ONLY_KERNEL
        recursive = point.recursive and point.read_only_below and can
        options.append("rro" if recursive or point.force_recursive_read_only else "ro")
    options.append(point.propagation or "rprivate")
    uids, gids = _NO_MAPPINGS
    if point.id_map:
        options.append("idmap")
        uids, gids = id_mappings(point.id_map, point.source, inputs.user)
    source, inside = point.looked_up
    return Mount(
        destination=point.destination,
        type="bind",
        source=source,
        options=(*options, *_subdirectory(inside)),
        uid_mappings=uids,
        gid_mappings=gids,
    )


def _image(point: MountPoint) -> Mount:
    """An image's layers, put together inside the container (docs/runtime.md)."""
    return Mount(
        destination=point.destination,
        type="overlay",
        source="overlay",
        options=(
            "ro",
            *(LAYER_OPTION + layer for layer in point.layers),
            *_subdirectory(point.subpath),
        ),
    )


def _subdirectory(path: str) -> tuple[str, ...]:
    return (SUBDIRECTORY_OPTION + path,) if path else ()


def _tmpfs_mount(point: MountPoint) -> Mount:
    """``--mount type=tmpfs``: unlike with ``--tmpfs``, programs may be run from it only if the
    options say so; sizes are bytes, 0 is no limit."""
    asked = point.tmpfs or TmpfsOptions()
    options = [*_TMPFS_DEFAULTS, *(() if point.rw else ("ro",))]
    for option in asked.options or ():
        _override(options, "=".join(option))
    if asked.size_bytes:
        options.append(f"size={asked.size_bytes}")
    if asked.mode:
        options.append(f"mode={asked.mode:o}")
    return Mount(
        destination=point.destination, type="tmpfs", source="tmpfs", options=tuple(options)
    )


def _tmpfs(target: str, text: str) -> Mount:
    if not posixpath.isabs(target):
        raise InvalidArgument(f"invalid mount path: '{target}' mount path must be absolute")
    options = list(_TMPFS_DEFAULTS)
    for option in filter(None, text.split(",")):
        _override(options, option)
    return Mount(destination=target, type="tmpfs", source="tmpfs", options=tuple(options))


def _override(options: list[str], option: str) -> None:
    """``exec`` takes the default ``noexec`` away; everything else is added."""
    opposite = _OPPOSITES.get(option)
    if opposite in options:
        options.remove(opposite)
    if option not in options:
        options.append(option)


def root_propagation(mounts: Iterable[Mount]) -> str:
    """What the root's propagation must be for the mounts in it to have theirs; empty: private."""
    wanted = {option.removeprefix("r") for mount in mounts for option in mount.options}
    return next((name for name in ("shared", "slave") if name in wanted), "")


def _depth(path: str) -> int:
    return posixpath.normpath(path).count("/")
