"""What the engine knows of a container or an exec, as frozen values.

A change gives a new value, which is written to the database as JSON and then takes the old one's
place in memory. Times are nanoseconds since the epoch, 0 for "never".
"""

from __future__ import annotations

import posixpath
from typing import Literal

import msgspec

from wherry.model.container import ContainerConfig, EndpointSettings, HostConfig, TmpfsOptions
from wherry.model.digest import Digest
from wherry.network.api import Endpoint, PublishedPort

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


class HealthResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a health check; ``exit_code`` -1 if it could not be run or timed out."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["starting", "healthy", "unhealthy"] = "starting"
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


class State(msgspec.Struct, frozen=True, kw_only=True):
    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    health: Health | None = None

    @property
    def running(self) -> bool:
        """As Docker counts it: a paused or a restarting container is running too."""
        return self.status in ("running", "paused", "restarting")


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A mount of a container as the API reports it. ``source`` is a path on the host, or an
    image's name. ``subpath`` is what of a volume or image is mounted, empty for all of it.

    ``layers`` are an image's directories, topmost first; they are there only while a container is
    being started (``engine.mount_sources``). ``beneath`` is a directory that a bind's source must
    not leave, whatever has come to stand there when it is mounted."""

    type: Literal["bind", "volume", "tmpfs", "image"]
    source: str
    destination: str
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    anonymous: bool = False
    no_copy: bool = False
    recursive: bool = True
    force_recursive_read_only: bool = False
    read_only_below: bool = True
    tmpfs: TmpfsOptions | None = None
    subpath: str = ""
    id_map: str = ""
    image_id: Digest | None = None
    layers: tuple[str, ...] = ()
    beneath: str = ""

    @property
    def looked_up(self) -> tuple[str, str]:
        """The directory that a source is looked up in, and its path there; empty: all of it."""
        if not self.beneath:
            return self.source, self.subpath
        inside = posixpath.relpath(self.source, self.beneath)
        return self.beneath, "" if inside == "." else inside


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container. ``config`` is merged with the image's defaults; ``name`` has no slash."""

    id: str  # 64 hex digits
    name: str
    created_ns: int
    image_id: Digest
    image_name: str  # as the creator wrote it
    config: ContainerConfig
    host: HostConfig
    networking: dict[str, EndpointSettings]
    path: str
    args: tuple[str, ...]
    mounts: tuple[MountPoint, ...] = ()
    state: State = State()
    restart_count: int = 0
    stopped_by_user: bool = False
    endpoints: dict[str, Endpoint] = {}
    ports: tuple[PublishedPort, ...] = ()
    log_path: str = ""
    log_driver: str = "local"
    host_ca: bool = False
    created_mountpoints: tuple[str, ...] = ()
    exec_ids: tuple[str, ...] = ()
    apparmor_profile: str = ""  # of the last start

    @property
    def hostname(self) -> str:
        return self.config.hostname or self.id[:12]


class ExecOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``POST /containers/{id}/exec`` asks for."""

    cmd: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] | None = None  # rows, columns


class Exec(msgspec.Struct, frozen=True, kw_only=True):
    id: str  # 64 hex digits
    container_id: str
    options: ExecOptions
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; ``type`` and ``action`` are those of the API's event messages."""

    type: Literal["container", "image", "network", "volume", "builder", "daemon"]
    action: str
    actor_id: str
    attributes: dict[str, str]
    time_ns: int


class WaitResult(msgspec.Struct, frozen=True, kw_only=True):
    exit_code: int
    error: str = ""


class RemovedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the answer to an image's removal: a name taken away, or an id deleted."""

    untagged: str = ""
    deleted: str = ""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sends in ``X-Registry-Auth``. Never stored, never logged."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server_address: str = ""
