"""What a new container shall be, in the words of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, PortBinding, RestartPolicy

HOST_CA = "org.wherry.host-ca"
"""The annotation by which a client asks for the host's certificate authorities."""

HostPort = int | tuple[str, int] | None
Command = str | Sequence[str] | None


class Settings(TypedDict, total=False):
    """Options of ``containers.create``, ``launch`` and ``run``; all may be left out.

    ``ports`` maps a container's port (``80`` or ``"53/udp"``) to one of the host, to (address,
    port), or to None for a free one. ``volumes`` maps a host's path or a volume's name to
    ``/target`` or ``/target:ro``. ``memory`` is bytes. ``network`` is a name or a mode. What has
    no option here can be given in ``config`` and ``host``, whose fields the others override.
    """

    name: str
    environment: Mapping[str, str]
    ports: Mapping[int | str, HostPort]
    volumes: Mapping[str, str]
    tmpfs: Mapping[str, str]
    network: str
    working_dir: str
    user: str
    entrypoint: Sequence[str]
    labels: Mapping[str, str]
    hostname: str
    tty: bool
    memory: int
    cpus: float
    pids_limit: int
    privileged: bool
    read_only: bool
    init: bool
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    restart: str
    auto_remove: bool
    stop_signal: str
    host_ca: bool
    platform: str
    config: ContainerConfig
    host: HostConfig


_CONFIG = {
    "working_dir": "working_dir",
    "user": "user",
    "hostname": "hostname",
    "tty": "tty",
    "stop_signal": "stop_signal",
}
_HOST = {
    "network": "network_mode",
    "memory": "memory",
    "pids_limit": "pids_limit",
    "privileged": "privileged",
    "read_only": "readonly_rootfs",
    "init": "init",
    "auto_remove": "auto_remove",
}
_HOST_LISTS = ("cap_add", "cap_drop")


def build_config(image: str, command: Command, settings: Settings) -> ContainerConfig:
    """The portable half of a request. A command that is one text is run by the shell."""
    changes: dict[str, Any] = _taken(settings, _CONFIG)
    changes["image"] = image
    if command is not None:
        changes["cmd"] = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
    if "entrypoint" in settings:
        changes["entrypoint"] = tuple(settings["entrypoint"])
    if "environment" in settings:
        changes["env"] = tuple(f"{k}={v}" for k, v in settings["environment"].items())
    if "labels" in settings:
        changes["labels"] = dict(settings["labels"])
    if ports := settings.get("ports"):
        changes["exposed_ports"] = {_port(port): {} for port in ports}
    return msgspec.structs.replace(settings.get("config", ContainerConfig()), **changes)


def build_host(settings: Settings) -> HostConfig:
    """The half that depends on the host."""
    base = settings.get("host", HostConfig())
    changes: dict[str, Any] = _taken(settings, _HOST)
    changes |= {name: tuple(values) for name, values in _taken_lists(settings).items()}
    if "cpus" in settings:
        changes["nano_cpus"] = round(settings["cpus"] * 1_000_000_000)
    if "ports" in settings:
        items = settings["ports"].items()
        changes["port_bindings"] = {_port(port): (_binding(target),) for port, target in items}
    if "volumes" in settings:
        changes["binds"] = tuple(f"{k}:{v}" for k, v in settings["volumes"].items())
    if "tmpfs" in settings:
        changes["tmpfs"] = dict(settings["tmpfs"])
    if "restart" in settings:
        changes["restart_policy"] = _restart(settings["restart"])
    if "host_ca" in settings:
        value = "true" if settings["host_ca"] else "false"
        changes["annotations"] = {**(base.annotations or {}), HOST_CA: value}
    return msgspec.structs.replace(base, **changes)


def _taken(settings: Settings, names: Mapping[str, str]) -> dict[str, Any]:
    given: Mapping[str, Any] = settings
    return {field: given[name] for name, field in names.items() if name in given}


def _taken_lists(settings: Settings) -> dict[str, Sequence[str]]:
    given: Mapping[str, Any] = settings
    return {name: given[name] for name in _HOST_LISTS if name in given}


def _port(port: int | str) -> str:
    text = str(port)
    return text if "/" in text else f"{text}/tcp"


def _binding(target: HostPort) -> PortBinding:
    if target is None:
        return PortBinding()
    if isinstance(target, tuple):
        return PortBinding(host_ip=target[0], host_port=str(target[1]))
    return PortBinding(host_port=str(target))


def _restart(text: str) -> RestartPolicy:
    name, _, count = text.partition(":")
    if count and not count.isdigit():
        raise InvalidArgument(f"invalid restart policy {text!r}: want a number after the colon")
    return RestartPolicy(name=name, maximum_retry_count=int(count or 0))
