"""From ``-v``, ``--mount``, ``--volumes-from`` and the image's VOLUMEs to a list of mounts.

Planning is pure; :class:`MountMaker` then makes what does not exist yet (volumes, missing host
directories of ``-v``) and fills empty volumes from the image (BEHAVIOURS: only a named or
anonymous volume is filled, a bind never is).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from wherry.engine.records import MountPoint
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import ContainerConfig, HostConfig, MountRequest, TmpfsOptions
from wherry.volume.api import Volumes

_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_RELABEL = frozenset({"z", "Z"})


class PlannedMount(msgspec.Struct, frozen=True, kw_only=True):
    """One mount as asked. ``source`` is a host path (bind) or a volume's name, which may be empty
    for a new anonymous one."""

    type: Literal["bind", "volume", "tmpfs"]
    destination: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    mode: str = ""
    create_source: bool = False
    no_copy: bool = False
    recursive: bool = True
    force_recursive_read_only: bool = False
    tmpfs: TmpfsOptions | None = None
    driver: str = "local"
    driver_options: dict[str, str] = {}
    labels: dict[str, str] = {}


def plan_mounts(
    config: ContainerConfig,
    host: HostConfig,
    mounts_of: Callable[[str], tuple[MountPoint, ...]],
) -> tuple[PlannedMount, ...]:
    """All mounts of a container, by destination; InvalidArgument names the one that is wrong.

    ``mounts_of`` gives the mounts of another container, for ``--volumes-from``.
    """
    plan: dict[str, PlannedMount] = {}
    for text in host.volumes_from or ():
        for mount in _from_container(text, mounts_of):
            plan[mount.destination] = mount
    explicit = [parse_bind(text, host.volume_driver) for text in host.binds or ()]
    explicit += [_from_request(request) for request in host.mounts or ()]
    seen: set[str] = set(_tmpfs_targets(host))
    for mount in explicit:
        if mount.destination in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.destination}")
        seen.add(mount.destination)
        plan[mount.destination] = mount
    for target in config.volumes or {}:
        destination = _destination(target)
        if destination not in plan and destination not in seen:
            plan[destination] = PlannedMount(type="volume", destination=destination)
    return tuple(plan.values())


def _tmpfs_targets(host: HostConfig) -> Iterable[str]:
    return (_destination(target) for target in host.tmpfs or {})


def _destination(text: str) -> str:
    if not text.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{text}' mount path must be absolute")
    clean = posixpath.normpath(text).replace("//", "/")
    if clean == "/":
        raise InvalidArgument(f"invalid specification: destination can't be '/': {text!r}")
    return clean


def parse_bind(text: str, volume_driver: str = "") -> PlannedMount:
    """``SOURCE:DESTINATION[:OPTIONS]`` or ``DESTINATION`` alone, as ``-v`` takes it."""
    parts = text.split(":")
    if not text or len(parts) > 3 or "" in parts:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return PlannedMount(type="volume", destination=_destination(parts[0]))
    source, destination = parts[0], _destination(parts[1])
    options = _bind_options(text, parts[2] if len(parts) == 3 else "")
    if source.startswith("/"):
        return msgspec.structs.replace(
            options,
            type="bind",
            destination=destination,
            source=posixpath.normpath(source),
            create_source=True,
            propagation=options.propagation or "rprivate",
        )
    return msgspec.structs.replace(
        options,
        type="volume",
        destination=destination,
        source=source,
        driver=volume_driver or "local",
    )


def _bind_options(text: str, options: str) -> PlannedMount:
    read_only, no_copy, propagation = False, False, ""
    for option in filter(None, options.split(",")):
        if option in ("ro", "rw"):
            read_only = option == "ro"
        elif option == "nocopy":
            no_copy = True
        elif option in _PROPAGATIONS:
            propagation = option
        elif option in ("consistent", "cached", "delegated") or option in _RELABEL:
            # Consistency means nothing on Linux, relabelling nothing without SELinux.
            continue
        else:
            raise InvalidArgument(f"invalid volume specification: '{text}': unknown mode {option}")
    return PlannedMount(
        type="volume",
        destination="",
        read_only=read_only,
        no_copy=no_copy,
        propagation=propagation,
        mode=options,
    )


def _from_request(request: MountRequest) -> PlannedMount:
    if not request.target:
        raise InvalidArgument("invalid mount config: Target must not be empty")
    build = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs}.get(request.type)
    if build is None:
        raise NotSupported(f"mount type {request.type!r} (Mounts.Type) is not supported")
    return build(request, _destination(request.target))


def _bind(request: MountRequest, destination: str) -> PlannedMount:
    options = request.bind_options
    if not request.source.startswith("/"):
        raise InvalidArgument(
            f"invalid mount config for type \"bind\": invalid mount path: '{request.source}' "
            "mount path must be absolute"
        )
    create = bool(options and options.create_mountpoint)
    if not create and not os.path.lexists(request.source):
        raise InvalidArgument(
            'invalid mount config for type "bind": bind source path does not exist: '
            f"{request.source}"
        )
    propagation = (options.propagation if options else "") or "rprivate"
    if propagation not in _PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation mode: {propagation}")
    return PlannedMount(
        type="bind",
        destination=destination,
        source=posixpath.normpath(request.source),
        read_only=request.read_only,
        propagation=propagation,
        create_source=create,
        recursive=not (options and options.non_recursive),
        force_recursive_read_only=bool(options and options.read_only_force_recursive),
    )


def _volume(request: MountRequest, destination: str) -> PlannedMount:
    options = request.volume_options
    if options and options.subpath:
        raise NotSupported("VolumeOptions.Subpath is not supported")
    driver = options.driver_config if options and options.driver_config else None
    return PlannedMount(
        type="volume",
        destination=destination,
        source=request.source,
        read_only=request.read_only,
        mode="z",
        no_copy=bool(options and options.no_copy),
        driver=(driver.name if driver else "") or "local",
        driver_options=(driver.options if driver else None) or {},
        labels=(options.labels if options else None) or {},
    )


def _tmpfs(request: MountRequest, destination: str) -> PlannedMount:
    if request.source:
        raise InvalidArgument('invalid mount config for type "tmpfs": field Source must be empty')
    return PlannedMount(
        type="tmpfs",
        destination=destination,
        read_only=request.read_only,
        tmpfs=request.tmpfs_options or TmpfsOptions(),
    )


def _from_container(
    text: str, mounts_of: Callable[[str], tuple[MountPoint, ...]]
) -> Iterable[PlannedMount]:
    ref, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgument(f"invalid volumes-from specification: '{text}'")
    for mount in mounts_of(ref):
        if mount.type == "tmpfs":
            continue
        yield PlannedMount(
            type=mount.type,
            destination=mount.destination,
            source=mount.name if mount.type == "volume" else mount.source,
            read_only=mode == "ro" or not mount.rw,
            propagation=mount.propagation,
            no_copy=True,
        )


class MountMaker:
    """Makes planned mounts real."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def make(self, plan: Iterable[PlannedMount], container_id: str) -> tuple[MountPoint, ...]:
        """The mounts as they will be reported; volumes are in use by the container afterwards."""
        return tuple(self._make(mount, container_id) for mount in plan)

    def _make(self, mount: PlannedMount, container_id: str) -> MountPoint:
        if mount.type == "volume":
            return self._volume(mount, container_id)
        if mount.create_source and not os.path.lexists(mount.source):
            os.makedirs(mount.source, exist_ok=True)
        return MountPoint(
            type=mount.type,
            source=mount.source,
            destination=mount.destination,
            mode=mount.mode,
            rw=not mount.read_only,
            propagation=mount.propagation,
            recursive=mount.recursive,
            force_recursive_read_only=mount.force_recursive_read_only,
            tmpfs=mount.tmpfs,
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
            no_copy=mount.no_copy,
        )
