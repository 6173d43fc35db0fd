"""Each thing a client may ask for is honoured, dropped with a warning, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wherry.engine.spec.capabilities import normalised
from wherry.engine.spec.devices import parse_rule
from wherry.engine.spec.facts import HostFacts, host_facts
from wherry.engine.spec.limits_check import check_limits
from wherry.engine.spec.namespaces import check_modes
from wherry.engine.spec.process import rlimits
from wherry.engine.spec.security import apparmor_profile, parse_options, seccomp_filter
from wherry.engine.spec.selinux import DISABLE
from wherry.engine.spec.sysctls import check_sysctls
from wherry.engine.spec.tmpfs import check_tmpfs
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import ContainerConfig, HostConfig
from wherry.model.runtime_spec import LinuxSeccomp
from wherry.runtime.seccomp.actions import filter_flags
from wherry.runtime.seccomp.compiler import compile_filter

_HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*")
_MAX_HOSTNAME = 63
_CONTAINER = "container:"


def check_supported(
    config: ContainerConfig, host: HostConfig, facts: HostFacts | None = None
) -> list[str]:
    """Warnings, in Docker's words, about what will be dropped.

    InvalidArgument for what is wrong, NotSupported for what this host or engine cannot do; both
    name the field. ``facts`` are this host's by default.
    """
    facts = facts or host_facts()
    _check_foreign(host)
    _check_identity(config, host)
    _check_network_modes(config, host)
    check_modes(host)
    check_sysctls(host)
    _check_security(host, facts)
    _check_environment(config)
    rlimits(host.ulimits or ())
    for text in host.device_cgroup_rules or ():
        parse_rule(text)
    check_tmpfs(host)
    dropped = (*_ports_of_the_host(host), *_labels_without_selinux(host, facts))
    return [*dropped, *check_limits(host, facts)]


def _ports_of_the_host(host: HostConfig) -> Iterator[str]:
    if host.network_mode == "host" and host.port_bindings:
        yield "Published ports are discarded when using host network mode"


def _labels_without_selinux(host: HostConfig, facts: HostFacts) -> Iterator[str]:
    """Docker takes them, too, and says nothing."""
    for label in parse_options(host.security_opt or ()).labels:
        if label != DISABLE and not facts.selinux:
            yield f"Your kernel runs without SELinux: the option label={label} was discarded."


def _check_foreign(host: HostConfig) -> None:
    """Fields of other systems, of hardware drivers, and of storage drivers."""
    windows = {"CpuCount": host.cpu_count, "CpuPercent": host.cpu_percent}
    for name, value in windows.items():
        if value:
            raise InvalidArgument(f"{name} cannot be set: Linux does not support it")
    if host.io_maximum_bandwidth:
        raise InvalidArgument("Invalid QoS settings: linux does not support Maximum IO Bandwidth")
    if host.io_maximum_iops:
        raise InvalidArgument("Invalid QoS settings: linux does not support Maximum IOPs")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(
            f"invalid isolation ({host.isolation}): linux only supports 'default'"
        )
    if host.cgroup:
        raise InvalidArgument(f"invalid cgroup ({host.cgroup}): it cannot be chosen")
    for request in host.device_requests or ():
        capabilities = [list(group) for group in request.capabilities or ()]
        shown = str(capabilities).replace("'", "").replace(",", "")
        raise NotSupported(
            f'could not select device driver "{request.driver}" with capabilities: {shown}'
        )
    if host.storage_opt:
        raise NotSupported(
            f"--storage-opt {min(host.storage_opt)} is not supported: the size of a container's "
            "layer cannot be limited"
        )


def _check_identity(config: ContainerConfig, host: HostConfig) -> None:
    name = config.hostname
    if name and (len(name) > _MAX_HOSTNAME or not _HOSTNAME.fullmatch(name)):
        raise InvalidArgument(f"invalid hostname format: {name}")
    if host.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if config.stop_timeout is not None and config.stop_timeout < -1:
        raise InvalidArgument(f"invalid stop timeout: {config.stop_timeout}")
    for key in host.annotations or {}:
        if not key:
            raise InvalidArgument("invalid Annotations: the empty string is not permitted as key")


def _check_network_modes(config: ContainerConfig, host: HostConfig) -> None:
    """A container that lives in another's network has no names, links or ports of its own."""
    if host.network_mode == "host" and host.links:
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. This would "
            "result in undefined behavior"
        )
    if not host.network_mode.startswith(_CONTAINER):
        return
    conflicts = {
        "hostname and the network mode": config.hostname,
        "dns and the network mode": host.dns,
        "custom host-to-IP mapping and the network mode": host.extra_hosts,
        "mac-address and the network mode": config.mac_address,
        "port publishing and the container type network mode": (
            host.port_bindings or host.publish_all_ports
        ),
        "container type network can't be used with links. This would result in undefined "
        "behavior": host.links,
    }
    for text, asked in conflicts.items():
        if asked:
            raise InvalidArgument(f"conflicting options: {text}")


def _check_security(host: HostConfig, facts: HostFacts) -> None:
    normalised(host.cap_add or (), "CapAdd")
    normalised(host.cap_drop or (), "CapDrop")
    options = parse_options(host.security_opt or ())
    apparmor_profile(options, host, facts)
    profile = seccomp_filter(options, host, (), facts)
    if profile and not facts.seccomp:
        raise NotSupported(
            "this kernel has no seccomp filters: run with --security-opt seccomp=unconfined if "
            "the container may make every system call"
        )
    if profile and options.seccomp:
        compile_filter(profile, facts.machine)
        filter_flags(profile)
        _check_listener(profile)


def _check_listener(profile: LinuxSeccomp) -> None:
    """Nobody would answer the notifications, so that the container would hang at the first."""
    actions = {profile.default_action, *(rule.action for rule in profile.syscalls)}
    if profile.listener_path or "SCMP_ACT_NOTIFY" in actions:
        raise NotSupported("seccomp profiles with SCMP_ACT_NOTIFY or a listener are not supported")


def _check_environment(config: ContainerConfig) -> None:
    for entry in config.env or ():
        if entry.startswith("=") or not entry:
            raise InvalidArgument(f"invalid environment variable: {entry}")
        if "\0" in entry:
            raise InvalidArgument("invalid environment variable: it contains a zero byte")
    for word in (*(config.entrypoint or ()), *(config.cmd or ())):
        if "\0" in word:
            raise InvalidArgument("the command contains a zero byte")
