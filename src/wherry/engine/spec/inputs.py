"""Everything that a container's OCI configuration is made from."""

from __future__ import annotations

import msgspec

from wherry.engine.records import MountPoint
from wherry.engine.spec.devices import ResolvedDevices
from wherry.engine.spec.facts import HostFacts
from wherry.engine.spec.selinux import Labels
from wherry.engine.spec.users import ResolvedUser
from wherry.model.container import ContainerConfig, HostConfig
from wherry.model.runtime_spec import Mount
from wherry.model.users import UserMap


class NameFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The container's own ``/etc/hosts`` and so on, as paths on the host; empty: the image's."""

    hosts: str = ""
    resolv_conf: str = ""
    hostname: str = ""


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Namespaces of another container to join, as paths (``/proc/PID/ns/pid``); empty: none.

    They are needed where a mode is ``container:NAME``. ``shm`` is a directory or mount on the host
    that becomes ``/dev/shm`` where the IPC namespace is shared.
    """

    network: str = ""
    pid: str = ""
    ipc: str = ""
    shm: str = ""


class SpecInputs(msgspec.Struct, frozen=True, kw_only=True):
    """``config`` is merged with the image's. ``root_path`` is where the root file system will be
    mounted; ``extra_env`` and ``extra_mounts`` are the engine's (proxies, CA bundle), the
    variables below those that the user set. ``has_default_apparmor`` tells that the profile for
    containers that name none is loaded."""

    container_id: str
    config: ContainerConfig
    host: HostConfig
    facts: HostFacts
    root_path: str
    cgroup_path: str
    user: ResolvedUser = ResolvedUser()
    devices: ResolvedDevices = ResolvedDevices()
    hostname: str = ""
    name_files: NameFiles = NameFiles()
    mounts: tuple[MountPoint, ...] = ()
    extra_mounts: tuple[Mount, ...] = ()
    extra_env: tuple[str, ...] = ()
    joined: Joined = Joined()
    users: UserMap | None = None
    """The container's users, if they are not the host's: in the namespace with that path."""
    user_namespace: str = ""
    own_files: str = ""
    """Below this directory, given with a slash at its end, all is the engine's own."""
    labels: Labels = Labels()
    """Those of SELinux."""
    use_init: bool = False
    has_default_apparmor: bool = False
