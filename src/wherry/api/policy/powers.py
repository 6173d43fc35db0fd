"""Which powers over the host a container asks for, and whether a policy grants them.

A member of HostConfig is harmless, or has a rule here, or must not be set: one that comes to be
later is refused until somebody has thought about it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import msgspec

from wherry.api.policy.model import Policy
from wherry.api.policy.view import View
from wherry.errors import NotFound
from wherry.model.container import (
    EndpointSettings,
    HostConfig,
    LogConfig,
    MountRequest,
    NetworkingConfig,
)

_HARMLESS = frozenset(
    """
    cpu_shares memory blkio_weight cpu_period cpu_quota cpuset_cpus cpuset_mems memory_reservation
    memory_swap memory_swappiness nano_cpus init pids_limit ulimits container_id_file port_bindings
    restart_policy auto_remove console_size annotations cap_drop dns dns_options dns_search
    extra_hosts group_add publish_all_ports readonly_rootfs tmpfs shm_size storage_opt isolation
    """.split()
)
_EMPTY_MEANS_NONE = ("masked_paths", "readonly_paths")  # an empty list masks nothing
_LOCAL_LOGS = ("", "json-file", "local", "none")
_LOCAL_LOG_OPTIONS = frozenset(
    "max-size max-file compress labels labels-regex env env-regex tag mode".split()
)
_SAFE_SECURITY = (
    "no-new-privileges",
    "no-new-privileges:true",
    "no-new-privileges=true",
    "seccomp=builtin",
)


def check_powers(view: View, host: HostConfig) -> HostConfig:
    """What is asked for, with paths of the host made real. Refused."""
    for name in HostConfig.__struct_fields__:
        value = getattr(host, name)
        unset = value is None if name in _EMPTY_MEANS_NONE else not value
        if name in _HARMLESS or unset:
            continue
        rule = _RULES.get(name)
        if rule is None:
            raise view.policy.refusal(f"the option {_told(name)}", "no grant is about it")
        rule(view, host)
    return msgspec.structs.replace(host, binds=_binds(view, host), mounts=_mounts(view, host))


def _told(field: str) -> str:
    return next(f.encode_name for f in msgspec.structs.fields(HostConfig) if f.name == field)


# --- simple powers -----------------------------------------------------------------------------


def _privileged(view: View, host: HostConfig) -> None:
    need_privileged(view.policy)


def need_privileged(policy: Policy) -> None:
    if not policy.grant.privileged:
        raise policy.refusal("a privileged process", "grant.privileged")


def _capabilities(view: View, host: HostConfig) -> None:
    granted = {_capability(name) for name in view.policy.grant.capabilities}
    for name in host.cap_add or ():
        if "ALL" not in granted and _capability(name) not in granted:
            raise view.policy.refusal(f"the capability {name}", "grant.capabilities")


def _capability(name: str) -> str:
    return name.strip().upper().removeprefix("CAP_")


def _security(view: View, host: HostConfig) -> None:
    check_security(view.policy, host.security_opt or ())


def check_security(policy: Policy, options: Iterable[str]) -> None:
    for option in options:
        if option not in _SAFE_SECURITY and not policy.grant.unconfined:
            raise policy.refusal(f"the security option {option[:80]}", "grant.unconfined")


def _paths_shown(view: View, host: HostConfig) -> None:
    if not view.policy.grant.unconfined:
        raise view.policy.refusal("a change of masked paths", "grant.unconfined")


def _devices(view: View, host: HostConfig) -> None:
    for device in host.devices or ():
        path = os.path.realpath(device.path_on_host)
        granted = view.policy.grant.devices
        if "*" not in granted and not any(_below(path, place) for place in granted):
            raise view.policy.refusal(f"the device {device.path_on_host}", "grant.devices")


def _all_devices(view: View, host: HostConfig) -> None:
    if "*" not in view.policy.grant.devices:
        raise view.policy.refusal("a rule for devices", "grant.devices")


def _log(view: View, host: HostConfig) -> None:
    """Other drivers make the engine connect to where the client says."""
    log = host.log_config
    if log == LogConfig():
        return
    unknown = set(log.config or ()) - _LOCAL_LOG_OPTIONS
    if log.type not in _LOCAL_LOGS or unknown:
        what = f"the log option {min(unknown)}" if unknown else f"the log driver {log.type}"
        raise view.policy.refusal(what, "no grant is about it")


# --- namespaces --------------------------------------------------------------------------------


def _namespace(kind: str, field: str, own: tuple[str, ...]) -> Callable[[View, HostConfig], None]:
    def rule(view: View, host: HostConfig) -> None:
        mode = str(getattr(host, field))
        if mode in own:
            return
        joined, colon, ref = mode.partition(":")
        if joined == "container" and colon and kind in ("network", "pid", "ipc"):
            view.joined(ref)
        elif mode == "host" and kind in view.policy.grant.host_namespaces:
            return
        elif kind == "network" and mode != "host":
            view.network(mode)
        else:
            raise view.policy.refusal(f"{_told(field)} {mode!r}", "grant.host-namespaces")

    return rule


def check_endpoints(view: View, networking: NetworkingConfig) -> None:
    """The networks that a container is attached to, by key and by id."""
    for name, settings in (networking.endpoints_config or {}).items():
        _check_network(view, name)
        if settings is not None:
            check_endpoint(view, settings)


def check_endpoint(view: View, settings: EndpointSettings) -> None:
    if settings.network_id:
        _check_network(view, settings.network_id)
    for link in settings.links or ():
        view.joined(link.partition(":")[0])
    for name in settings.driver_opts or {}:
        raise view.policy.refusal(f"the endpoint option {name[:80]}", "no grant is about it")


def _check_network(view: View, name: str) -> None:
    if name != "default":
        view.network(name)


def check_build_network(view: View, mode: str) -> None:
    """As for containers; another container's network is not asked for by builds."""
    if mode:
        _RULES["network_mode"](view, HostConfig(network_mode=mode))


# --- other containers --------------------------------------------------------------------------


def _links(view: View, host: HostConfig) -> None:
    for link in host.links or ():
        view.joined(link.partition(":")[0])


def _volumes_from(view: View, host: HostConfig) -> None:
    for text in host.volumes_from or ():
        view.joined(text.partition(":")[0])


# --- files of the host -------------------------------------------------------------------------


def _volume_driver(view: View, host: HostConfig) -> None:
    if host.volume_driver != "local":
        raise view.policy.refusal(f"the volume driver {host.volume_driver}", "no grant is about it")


def _below(path: str, place: str) -> bool:
    """Whether a path is a place or below it, once no link is left in either."""
    real = os.path.realpath(place)
    return path == real or path.startswith(real.rstrip("/") + "/")


def granted_bind(view: View, source: str, *, writable: bool) -> str:
    """The real path of a bind's source. Refused if no grant is about it."""
    real = os.path.realpath(source)
    if ":" in real:
        raise view.policy.refusal(f"the bind of {source}", "its path has a colon")
    _place_of(view, source, real, writable)
    return real


def _place_of(view: View, source: str, real: str, writable: bool) -> str:
    """The granted directory, or file, that a source is in, without links."""
    for text in view.policy.grant.binds:
        place = os.path.realpath(text.removesuffix(":ro"))
        if _below(real, place) and not (writable and text.endswith(":ro")):
            return place
    how = "writable" if writable else "read-only"
    raise view.policy.refusal(f"the {how} bind of {source}", "grant.binds")


def places_of_binds(view: View, checked: HostConfig) -> dict[str, str]:
    """The granted place of each bind of what :func:`check_powers` gave. The engine looks sources
    up beneath these, so that it does not matter what is put in their way meanwhile."""
    asked = [(m.source, not m.read_only) for m in checked.mounts or () if m.type == "bind"]
    for text in checked.binds or ():
        source, _, rest = text.partition(":")
        if rest and source.startswith("/"):
            asked.append((source, "ro" not in rest.partition(":")[2].split(",")))
    asked.sort(key=lambda bind: bind[1])  # of one that is both, the place that may be written to
    return {source: _place_of(view, source, source, writable) for source, writable in asked}


def _named_volume(view: View, name: str) -> None:
    """One that exists must be the policy's; one that does not is made with its labels."""
    if not name:
        return
    try:
        found = view.engine.volumes.get(name)
    except NotFound:
        view.engine.volumes.create(name, "local", {}, dict(view.policy.labels))
        return
    if not view.shows_volume(found):
        raise view.policy.refusal(f"the volume {name}", "labels")


def _binds(view: View, host: HostConfig) -> tuple[str, ...] | None:
    if host.binds is None:
        return None
    return tuple(_bind(view, text) for text in host.binds)


def _bind(view: View, text: str) -> str:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        if text.startswith("/") and len(parts) == 1:
            return text  # a place in the container: a volume without a name
        raise view.policy.refusal(f"the bind {text[:80]}", "it is not SOURCE:TARGET[:OPTIONS]")
    if not parts[0].startswith("/"):
        _named_volume(view, parts[0])
        return text
    options = parts[2].split(",") if len(parts) == 3 else []
    return ":".join((granted_bind(view, parts[0], writable="ro" not in options), *parts[1:]))


def _mounts(view: View, host: HostConfig) -> tuple[MountRequest, ...] | None:
    if host.mounts is None:
        return None
    return tuple(_mount(view, mount) for mount in host.mounts)


def _mount(view: View, mount: MountRequest) -> MountRequest:
    if mount.type == "bind":
        source = granted_bind(view, mount.source, writable=not mount.read_only)
        return msgspec.structs.replace(mount, source=source)
    if mount.type == "volume":
        driver = mount.volume_options.driver_config if mount.volume_options else None
        if driver and (driver.name not in ("", "local") or driver.options):
            raise view.policy.refusal("a volume with driver options", "no grant is about it")
        _named_volume(view, mount.source)
    elif mount.type == "image":
        view.base_image(mount.source)
    elif mount.type != "tmpfs":
        raise view.policy.refusal(f"a mount of type {mount.type!r}", "no grant is about it")
    return mount


def _checked_apart(view: View, host: HostConfig) -> None:
    """Binds and mounts, which :func:`check_powers` gives back."""


_RULES: dict[str, Callable[[View, HostConfig], None]] = {
    "privileged": _privileged,
    "cap_add": _capabilities,
    "security_opt": _security,
    "masked_paths": _paths_shown,
    "readonly_paths": _paths_shown,
    "devices": _devices,
    "device_cgroup_rules": _all_devices,
    "device_requests": _all_devices,
    "log_config": _log,
    "network_mode": _namespace("network", "network_mode", ("default",)),
    "pid_mode": _namespace("pid", "pid_mode", ("private",)),
    "ipc_mode": _namespace("ipc", "ipc_mode", ("private", "shareable", "none")),
    "uts_mode": _namespace("uts", "uts_mode", ()),
    "userns_mode": _namespace("userns", "userns_mode", ()),
    "cgroupns_mode": _namespace("cgroup", "cgroupns_mode", ("private",)),
    "links": _links,
    "volumes_from": _volumes_from,
    "volume_driver": _volume_driver,
    "binds": _checked_apart,
    "mounts": _checked_apart,
}
