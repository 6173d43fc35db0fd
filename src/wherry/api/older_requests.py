"""Members of requests that older versions of the API did not have, or took otherwise.

Each function takes what a client of ``version`` sent and gives what is meant by it now: a member
that the version did not have is left out, as the engines of its time did, or refused where leaving
it out would be dangerous. Source: the Engine API's version history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from wherry.api.versions import Version, spelled
from wherry.engine.records import ExecOptions
from wherry.errors import InvalidArgument
from wherry.model.container import (
    ContainerConfig,
    HostConfig,
    MountRequest,
    NetworkingConfig,
)

T = TypeVar("T", bound=msgspec.Struct)

_AUTO_REMOVE: Version = (1, 25)
_EXEC_ENVIRONMENT: Version = (1, 25)
_WAIT_CONDITION: Version = (1, 30)
_LOGS_UNTIL: Version = (1, 35)
_EXEC_DIRECTORY: Version = (1, 35)
_PRIVATE_IPC: Version = (1, 40)
_PLATFORM: Version = (1, 41)
_OWN_SIGNAL: Version = (1, 42)
_ANNOTATIONS: Version = (1, 43)
_SEVERAL_NETWORKS: Version = (1, 44)
_GATEWAY_PRIORITY: Version = (1, 48)


def configuration(config: ContainerConfig, version: Version) -> ContainerConfig:
    """What runs: before 1.44 there was no interval for the checks while a container starts."""
    check = config.healthcheck
    if check is None or version >= _SEVERAL_NETWORKS:
        return config
    return _with(config, healthcheck=_with(check, start_interval=0))


def host(value: HostConfig, version: Version) -> HostConfig:
    """Where it runs. InvalidArgument for mounts that its version does not know."""
    found: dict[str, Any] = {}
    if version < _AUTO_REMOVE:
        found["auto_remove"] = False
    if version < _PRIVATE_IPC:
        found |= {"ipc_mode": value.ipc_mode or "shareable", "kernel_memory_tcp": 0}
    if version < _OWN_SIGNAL:
        found["console_size"] = None
    if version < _ANNOTATIONS:
        found["annotations"] = None
    if value.mounts:
        found["mounts"] = tuple(_mount(mount, version) for mount in value.mounts)
    return _with(value, **found)


def networks(value: NetworkingConfig, version: Version) -> NetworkingConfig:
    """Before 1.44 one network; before 1.48 no priority among their gateways."""
    given = value.endpoints_config or {}
    if version < _SEVERAL_NETWORKS and len(given) > 1:
        names = ", ".join(sorted(given))
        raise InvalidArgument(f"container cannot be connected to network endpoints: {names}")
    if version >= _GATEWAY_PRIORITY or not given:
        return value
    settings = {n: _with(one, gw_priority=0) if one else one for n, one in given.items()}
    return _with(value, endpoints_config=settings)


def update(value: HostConfig, version: Version) -> HostConfig:
    return _with(value, pids_limit=None) if version < _PRIVATE_IPC else value


def execution(value: ExecOptions, version: Version) -> ExecOptions:
    found: dict[str, Any] = {}
    if version < _EXEC_ENVIRONMENT:
        found["env"] = ()
    if version < _EXEC_DIRECTORY:
        found["working_dir"] = ""
    if version < _OWN_SIGNAL:
        found["console_size"] = None
    return _with(value, **found)


_PARAMETERS: dict[str, Version] = {
    "condition": _WAIT_CONDITION,
    "platform": _PLATFORM,
    "signal": _OWN_SIGNAL,
    "until": _LOGS_UNTIL,
}
"""Those of a container's creation, start and end, and of its log."""


def parameter(name: str, value: str, version: Version) -> str:
    """The value of a query's parameter; empty before there was one."""
    return value if version >= _PARAMETERS[name] else ""


def _mount(mount: MountRequest, version: Version) -> MountRequest:
    for since, wanted, what in _REFUSED:
        if version < since and wanted(mount):
            raise InvalidArgument(f"{what} needs API v{spelled(since)} or newer")
    if version < _OWN_SIGNAL:
        mount = _with_own_options(mount)
    bind = mount.bind_options
    if bind is None:
        return mount
    found: dict[str, Any] = {}
    if version < _PRIVATE_IPC:
        found["non_recursive"] = False
    if version < _OWN_SIGNAL:
        found["create_mountpoint"] = False
    if version < _SEVERAL_NETWORKS:
        found["read_only_non_recursive"] = False
    return _with(mount, bind_options=_with(bind, **found))


def _with_own_options(mount: MountRequest) -> MountRequest:
    """Before 1.42 options for another type of mount were not looked at."""
    options = {"bind": "bind_options", "volume": "volume_options", "tmpfs": "tmpfs_options"}
    foreign = {name: None for kind, name in options.items() if kind != mount.type}
    return _with(mount, **foreign)


_REFUSED: tuple[tuple[Version, Callable[[MountRequest], object], str], ...] = (
    (
        (1, 44),
        lambda mount: mount.bind_options and mount.bind_options.read_only_force_recursive,
        "BindOptions.ReadOnlyForceRecursive",
    ),
    (
        (1, 45),
        lambda mount: mount.volume_options and mount.volume_options.subpath,
        "VolumeOptions.Subpath",
    ),
    (
        (1, 46),
        lambda mount: mount.tmpfs_options and mount.tmpfs_options.options,
        "TmpfsOptions.Options",
    ),
    ((1, 48), lambda mount: mount.type == "image", 'Mount type "image"'),
)


def _with(value: T, **changes: Any) -> T:
    return msgspec.structs.replace(value, **changes)
