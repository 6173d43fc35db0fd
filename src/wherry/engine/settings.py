"""How one engine is set up. Read at the edge (argv, environment, file), passed down as a value."""

from __future__ import annotations

import hashlib
import os.path
from functools import cache

import msgspec

from wherry.model.users import UserMap


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All paths are absolute. Two engines with different roots share nothing."""

    data_root: str
    exec_root: str
    host_ca: bool = False
    """Show the host's certificate authorities to every container and build step."""
    host_ca_bundle: str = ""
    """The host's CA bundle, a PEM file; empty if the host has none."""
    proxy_env: dict[str, str] = {}
    """Proxy variables that every container and build step gets."""
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    bip: str = ""
    accept_forward: bool = False
    """Whether containers' packets pass a FORWARD chain of iptables that drops, as Docker's do."""
    mtu: int = 0
    users: UserMap | None = None
    """The host's ids of containers that do not ask for the host's own (``--userns-remap``)."""
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    selinux: bool = False
    """Give containers labels of SELinux where the kernel has it."""
    labels: tuple[str, ...] = ()
    debug: bool = False
    cgroup_parent: str = ""
    systemd_cgroups: bool = False
    """systemd makes a scope for each container; ``cgroup_parent`` is then a slice."""
    runtimes: dict[str, tuple[str, ...]] = {}
    """Other OCI runtimes by name: program (an absolute path) and the arguments that come first."""
    default_runtime: str = "wherry"
    log_driver: str = ""
    """Of containers that name none; empty: ``local``."""
    log_options: dict[str, str] = {}
    """Options of that driver for containers that do not set them."""

    @property
    def instance(self) -> str:
        """Six characters that name this engine in bridges, tables and cgroups."""
        return _instance_of(self.data_root)

    @property
    def cgroup_root(self) -> str:
        """The parent of all groups that we make, relative to the hierarchies' roots."""
        return self.cgroup_parent or f"/wherry-{self.instance}"

    def container_dir(self, container_id: str) -> str:
        """What outlives a reboot: the log and the name files."""
        return os.path.join(self.data_root, "containers", container_id)

    def runtime_dir(self, container_id: str) -> str:
        """What does not: bundle, monitor socket, state."""
        return os.path.join(self.exec_root, "containers", container_id)


@cache
def _instance_of(data_root: str) -> str:
    """Found once: it is asked for with each path of a group, and an engine never gets another."""
    return hashlib.sha256(os.path.realpath(data_root).encode()).hexdigest()[:6]
