"""Which namespaces a container has of its own, and which it shares."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.engine.spec.inputs import SpecInputs
from wherry.errors import InternalError, InvalidArgument
from wherry.model.container import HostConfig
from wherry.model.runtime_spec import LinuxNamespace, NamespaceType

_IPC_MODES = ("", "none", "private", "shareable", "host")
_CONTAINER = "container:"


def namespaces(inputs: SpecInputs) -> tuple[LinuxNamespace, ...]:
    """The namespaces to make or to join; those that are not listed are the host's."""
    host, joined = inputs.host, inputs.joined
    found = [LinuxNamespace(type="mount")]
    found += _by_mode("network", host.network_mode, joined.network, inputs)
    if host.uts_mode != "host":
        found.append(LinuxNamespace(type="uts"))
    found += _by_mode("pid", host.pid_mode, joined.pid, inputs)
    found += _by_mode("ipc", host.ipc_mode, joined.ipc, inputs)
    if inputs.users is not None:
        found.append(LinuxNamespace(type="user", path=inputs.user_namespace))
    if host.cgroupns_mode != "host":
        found.append(LinuxNamespace(type="cgroup"))
    return tuple(found)


def _by_mode(
    kind: NamespaceType, mode: str, path: str, inputs: SpecInputs
) -> Iterator[LinuxNamespace]:
    if mode == "host":
        return
    if mode.startswith(_CONTAINER) and not path:
        raise InternalError(
            f"container {inputs.container_id[:12]} cannot share the {kind} namespace of "
            f"{mode.removeprefix(_CONTAINER)}: its path was not given"
        )
    yield LinuxNamespace(type=kind, path=path if mode.startswith(_CONTAINER) else "")


def has_own_network(host: HostConfig) -> bool:
    """Neither the host's network nor another container's."""
    return host.network_mode != "host" and not host.network_mode.startswith(_CONTAINER)


def check_modes(host: HostConfig) -> None:
    """InvalidArgument names a mode that there is not."""
    if host.pid_mode not in ("", "host") and not _names_container(host.pid_mode):
        raise InvalidArgument(f"invalid PID mode: {host.pid_mode}")
    if host.ipc_mode not in _IPC_MODES and not _names_container(host.ipc_mode):
        raise InvalidArgument(f"invalid IPC mode: {host.ipc_mode}")
    if host.uts_mode not in ("", "host"):
        raise InvalidArgument(f"invalid UTS mode: {host.uts_mode}")
    if host.userns_mode not in ("", "host"):
        raise InvalidArgument(f"invalid user namespace mode: {host.userns_mode}")
    if host.cgroupns_mode not in ("", "private", "host"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {host.cgroupns_mode}")


def _names_container(mode: str) -> bool:
    return mode.startswith(_CONTAINER) and len(mode) > len(_CONTAINER)
