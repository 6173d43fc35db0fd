"""Kernel parameters that belong to a namespace of the container (namespaces(7))."""

from __future__ import annotations

from wherry.engine.spec.namespaces import has_own_network
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig
from wherry.model.users import UserMap

_IPC = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni")
) | {"kernel.shm_rmid_forced"}

# In a network of its own no port is privileged, and everyone may ping.
_NETWORK_DEFAULTS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def container_sysctls(host: HostConfig, users: UserMap | None = None) -> dict[str, str]:
    """Docker's defaults for a network namespace of its own, and what was asked for. With ``users``
    that are not the host's the engine has set them: only the host knows all groups."""
    defaults = _NETWORK_DEFAULTS if has_own_network(host) and users is None else {}
    return {**defaults, **(host.sysctls or {})}


def check_sysctls(host: HostConfig) -> None:
    """InvalidArgument for a parameter of the whole host."""
    for name in host.sysctls or {}:
        _check(name.replace("/", "."), host)


def _check(name: str, host: HostConfig) -> None:
    if ".." in name or name.startswith(".") or not name.replace("_", "").isprintable():
        raise InvalidArgument(f'invalid sysctl "{name}"')
    if name in _IPC or name.startswith("fs.mqueue."):
        if host.ipc_mode == "host":
            raise InvalidArgument(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
    elif name.startswith("net."):
        if host.network_mode == "host":
            raise InvalidArgument(f'sysctl "{name}" not allowed in host network namespace')
    elif name == "kernel.domainname":
        if host.uts_mode == "host":
            raise InvalidArgument(f'sysctl "{name}" not allowed in host UTS namespace')
    else:
        raise InvalidArgument(f'sysctl "{name}" is not in a separate kernel namespace')
