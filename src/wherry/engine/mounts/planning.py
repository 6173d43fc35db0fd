"""From ``-v``, ``--mount``, ``--volumes-from`` and the image's VOLUMEs to a list of mounts.

Planning changes nothing; what does not exist yet is made by ``engine.mount_making``.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from wherry.engine.records import MountPoint
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    MountRequest,
    TmpfsOptions,
)
from wherry.model.idmap import parse_id_map

NO_PLACES: Mapping[str, str] = MappingProxyType({})
_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_RELABEL = frozenset({"z", "Z"})
_OPTION = re.compile(r"[A-Za-z0-9_.:/%+-]{1,255}")


class PlannedMount(msgspec.Struct, frozen=True, kw_only=True):
    """One mount as asked. ``source`` is a host path (bind), an image's name, or a volume's, which
    may be empty for a new anonymous one."""

    type: Literal["bind", "volume", "tmpfs", "image"]
    destination: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    mode: str = ""
    create_source: bool = False
    no_copy: bool = False
    recursive: bool = True
    force_recursive_read_only: bool = False
    read_only_below: bool = True
    subpath: str = ""
    id_map: str = ""
    beneath: str = ""  # see engine.records.MountPoint
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
        destination = clean_destination(target)
        if destination not in plan and destination not in seen:
            plan[destination] = PlannedMount(type="volume", destination=destination)
    return tuple(plan.values())


def confined(plan: Iterable[PlannedMount], places: Mapping[str, str]) -> tuple[PlannedMount, ...]:
    """Binds of these sources never leave these places; see ``engine.records.MountPoint``."""
    return tuple(
        msgspec.structs.replace(mount, beneath=places[mount.source])
        if mount.type == "bind" and mount.source in places
        else mount
        for mount in plan
    )


def _tmpfs_targets(host: HostConfig) -> Iterable[str]:
    return (clean_destination(target) for target in host.tmpfs or {})


def clean_destination(text: str) -> str:
    """A path in a container to mount something on, normalised; InvalidArgument."""
    if not text.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{text}' mount path must be absolute")
    if "\0" in text:
        raise InvalidArgument(f"invalid mount path: {text!r} contains a zero byte")
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
        return PlannedMount(type="volume", destination=clean_destination(parts[0]))
    source, destination = parts[0], clean_destination(parts[1])
    options = _bind_options(text, parts[2] if len(parts) == 3 else "")
    is_bind = source.startswith("/")
    if options.no_copy if is_bind else options.propagation:
        wrong = "nocopy" if is_bind else options.propagation
        raise InvalidArgument(
            f"invalid volume specification: '{text}': {wrong} is not for a "
            f"{'bind mount' if is_bind else 'volume'}"
        )
    if is_bind:
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
        mode=options.mode or "z",
        driver=volume_driver or "local",
    )


def _bind_options(text: str, options: str) -> PlannedMount:
    read_only, no_copy, propagation = False, False, ""
    given = [option for option in options.split(",") if option]
    for option in given:
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
    if {"ro", "rw"} <= set(given) or given.count("nocopy") > 1:
        raise InvalidArgument(f"invalid volume specification: '{text}': invalid mode: {options}")
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
        raise InvalidArgument(
            f'invalid mount config for type "{request.type}": field Target must not be empty'
        )
    if request.type in _REFUSED:
        raise NotSupported(f'mounts of type "{request.type}" need {_REFUSED[request.type]}')
    build = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "image": _image}.get(request.type)
    if build is None:
        raise InvalidArgument(f'invalid mount config for type "{request.type}": mount type unknown')
    _check_consistency(request)
    _check_options(request)
    return build(request, _target(request))


def _target(request: MountRequest) -> str:
    try:
        return clean_destination(request.target)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid mount config for type "{request.type}": {error}') from None


_REFUSED = {"cluster": "a swarm, which this engine has not", "npipe": "Windows"}
_CONSISTENCIES = ("", "default", "consistent", "cached", "delegated")


def _check_consistency(request: MountRequest) -> None:
    if request.consistency not in _CONSISTENCIES:
        raise InvalidArgument(f"invalid mount consistency: {request.consistency!r}")


def _check_options(request: MountRequest) -> None:
    """Docker refuses options of another type of mount by their field's name."""
    given = {
        "bind": ("BindOptions", request.bind_options),
        "volume": ("VolumeOptions", request.volume_options),
        "tmpfs": ("TmpfsOptions", request.tmpfs_options),
        "image": ("ImageOptions", request.image_options),
    }
    for kind, (name, options) in given.items():
        if options is not None and kind != request.type:
            raise InvalidArgument(
                f'invalid mount config for type "{request.type}": field {name} must not be '
                "specified"
            )


def _bind(request: MountRequest, destination: str) -> PlannedMount:
    options = request.bind_options or BindOptions()
    if not request.source:
        raise InvalidArgument(
            'invalid mount config for type "bind": field Source must not be empty'
        )
    if not request.source.startswith("/"):
        raise InvalidArgument(
            f"invalid mount config for type \"bind\": invalid mount path: '{request.source}' "
            "mount path must be absolute"
        )
    create = options.create_mountpoint
    if not create and not os.path.lexists(request.source):
        raise InvalidArgument(
            'invalid mount config for type "bind": bind source path does not exist: '
            f"{request.source}"
        )
    propagation = options.propagation or "rprivate"
    if propagation not in _PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation mode: {propagation}")
    _check_read_only(request, options, propagation)
    if options.id_map:
        parse_id_map(options.id_map)
    return PlannedMount(
        type="bind",
        destination=destination,
        source=posixpath.normpath(request.source),
        read_only=request.read_only,
        propagation=propagation,
        create_source=create,
        recursive=not options.non_recursive,
        force_recursive_read_only=options.read_only_force_recursive,
        read_only_below=not options.read_only_non_recursive,
        id_map=options.id_map,
    )


def _check_read_only(request: MountRequest, options: BindOptions, propagation: str) -> None:
    below, force = options.read_only_non_recursive, options.read_only_force_recursive
    name = "ReadOnlyForceRecursive" if force else "ReadOnlyNonRecursive"
    if below and force:
        wrong = "ReadOnlyNonRecursive and ReadOnlyForceRecursive contradict each other"
    elif (below or force) and not request.read_only:
        wrong = f"{name} needs ReadOnly"
    elif force and options.non_recursive:
        wrong = "ReadOnlyForceRecursive and NonRecursive contradict each other"
    elif force and propagation != "rprivate":
        wrong = "ReadOnlyForceRecursive needs the propagation rprivate"
    else:
        return
    raise InvalidArgument(f'invalid mount config for type "bind": {wrong}')


def _volume(request: MountRequest, destination: str) -> PlannedMount:
    options = request.volume_options
    driver = options.driver_config if options and options.driver_config else None
    subpath = _subpath(options.subpath if options else "", "volume")
    if subpath and not request.source:
        raise InvalidArgument(
            'invalid mount config for type "volume": Subpath needs the name of a volume'
        )
    if request.read_only and not request.source:
        raise InvalidArgument(
            'invalid mount config for type "volume": must not set ReadOnly mode when using '
            "anonymous volumes"
        )
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
        subpath=subpath,
    )


def _subpath(text: str, kind: str) -> str:
    """A path inside a volume or image; what it leads to is looked at when a container starts."""
    if not text:
        return ""
    clean = posixpath.normpath(text)
    if text.startswith("/") or clean.split("/")[0] == ".." or "\0" in text:
        raise InvalidArgument(
            f'invalid mount config for type "{kind}": subpath must be a relative path within the '
            f"{kind}: {text!r}"
        )
    return "" if clean == "." else clean


def _image(request: MountRequest, destination: str) -> PlannedMount:
    """An image's files. They are read-only, whether that is asked for or not, as with Docker."""
    if not request.source:
        raise InvalidArgument('invalid mount config for type "image": field Source is required')
    options = request.image_options
    return PlannedMount(
        type="image",
        destination=destination,
        source=request.source,
        read_only=True,
        subpath=_subpath(options.subpath if options else "", "image"),
    )


def _tmpfs(request: MountRequest, destination: str) -> PlannedMount:
    if request.source:
        raise InvalidArgument(
            'invalid mount config for type "tmpfs": field Source must not be specified'
        )
    _check_tmpfs(request.tmpfs_options or TmpfsOptions())
    return PlannedMount(
        type="tmpfs",
        destination=destination,
        read_only=request.read_only,
        tmpfs=request.tmpfs_options or TmpfsOptions(),
    )


def _check_tmpfs(options: TmpfsOptions) -> None:
    if options.size_bytes < 0 or not 0 <= options.mode <= 0o7777:
        raise InvalidArgument('invalid mount config for type "tmpfs": bad SizeBytes or Mode')
    for option in options.options or ():
        if len(option) not in (1, 2) or not all(_OPTION.fullmatch(text) for text in option):
            raise InvalidArgument(f'invalid mount config for type "tmpfs": bad option {option!r}')


def _from_container(
    text: str, mounts_of: Callable[[str], tuple[MountPoint, ...]]
) -> Iterable[PlannedMount]:
    if not text:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
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
            recursive=mount.recursive,
            read_only_below=mount.read_only_below,
            subpath=mount.subpath,
            id_map=mount.id_map,
            beneath=mount.beneath,
            no_copy=True,
        )
