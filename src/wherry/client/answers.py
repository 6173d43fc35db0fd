"""What an engine answers, as frozen values (Engine API v1.51, definitions of similar names).

Sizes are bytes. A field that the engine leaves out, or answers with ``null``, has the default given
here, so that a list is always a tuple. A time that was never reached is in the year 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, get_origin

import msgspec

from wherry.client.session import Session, encode_json
from wherry.errors import InternalError
from wherry.model.container import ContainerConfig, EndpointSettings, HostConfig, PortBinding
from wherry.model.decoding import learnt

T = TypeVar("T")
Filters = Mapping[str, Sequence[str]]
"""Names of filters, and the values that pass each."""

NO_FILTERS: Filters = {}
NEVER = datetime(1, 1, 1, tzinfo=UTC)


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Base of the answers: the API's capitalised field names."""


# --- containers -----------------------------------------------------------------------------------


class Port(Answer, frozen=True, kw_only=True):
    """``public_port`` 0: not published."""

    ip: str = msgspec.field(default="", name="IP")
    private_port: int = 0
    public_port: int = 0
    type: str = "tcp"


class Mount(Answer, frozen=True, kw_only=True):
    type: str = ""
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""


class ContainerSummary(Answer, frozen=True, kw_only=True):
    """A line of a list. ``names`` have a leading slash; ``created`` is in seconds."""

    id: str
    names: tuple[str, ...] = ()
    image: str = ""
    image_id: str = msgspec.field(default="", name="ImageID")
    command: str = ""
    created: int = 0
    ports: tuple[Port, ...] = ()
    labels: dict[str, str] = {}
    state: str = ""
    status: str = ""
    size_rw: int = 0
    size_root_fs: int = 0
    mounts: tuple[Mount, ...] = ()

    @property
    def name(self) -> str:
        return self.names[0].lstrip("/") if self.names else ""


class HealthProbe(Answer, frozen=True, kw_only=True):
    start: datetime = NEVER
    end: datetime = NEVER
    exit_code: int = 0
    output: str = ""


class Health(Answer, frozen=True, kw_only=True):
    """``status`` is ``none``, ``starting``, ``healthy`` or ``unhealthy``."""

    status: str = "none"
    failing_streak: int = 0
    log: tuple[HealthProbe, ...] = ()


class State(Answer, frozen=True, kw_only=True):
    status: str = ""
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: datetime = NEVER
    finished_at: datetime = NEVER
    health: Health = Health()


class NetworkSettings(Answer, frozen=True, kw_only=True):
    """``ports`` has published ports only: ``80/tcp`` to where they are reached."""

    ports: dict[str, tuple[PortBinding, ...]] = {}
    networks: dict[str, EndpointSettings] = {}
    ip_address: str = msgspec.field(default="", name="IPAddress")
    gateway: str = ""
    mac_address: str = ""


class ContainerDetails(Answer, frozen=True, kw_only=True):
    id: str
    name: str = ""
    created: datetime = NEVER
    path: str = ""
    args: tuple[str, ...] = ()
    state: State = State()
    image: str = ""
    config: ContainerConfig = ContainerConfig()
    host_config: HostConfig = HostConfig()
    network_settings: NetworkSettings = NetworkSettings()
    mounts: tuple[Mount, ...] = ()
    restart_count: int = 0
    platform: str = ""
    driver: str = ""
    log_path: str = ""
    size_rw: int = 0
    size_root_fs: int = 0


class ExecDetails(Answer, frozen=True, kw_only=True):
    """``exit_code`` None: it has not ended."""

    id: str = msgspec.field(name="ID")
    container_id: str = msgspec.field(default="", name="ContainerID")
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class Change(Answer, frozen=True, kw_only=True):
    """``kind``: 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int = 0


class Top(Answer, frozen=True, kw_only=True):
    titles: tuple[str, ...] = ()
    processes: tuple[tuple[str, ...], ...] = ()


class Created(Answer, frozen=True, kw_only=True):
    """What was made: a container, a network or an exec."""

    id: str
    warnings: tuple[str, ...] = ()


# --- images ---------------------------------------------------------------------------------------


class ImageSummary(Answer, frozen=True, kw_only=True):
    id: str
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    created: int = 0
    size: int = 0
    labels: dict[str, str] = {}


class ImageDetails(Answer, frozen=True, kw_only=True):
    id: str
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    created: datetime = NEVER
    author: str = ""
    architecture: str = ""
    os: str = ""
    size: int = 0
    config: ContainerConfig = ContainerConfig()


class HistoryEntry(Answer, frozen=True, kw_only=True):
    """``created`` in seconds; ``size`` of the step's layer."""

    id: str = "<missing>"
    created: int = 0
    created_by: str = ""
    tags: tuple[str, ...] = ()
    size: int = 0
    comment: str = ""


class RemovedImage(Answer, frozen=True, kw_only=True):
    """A name that was taken away, or an image that was deleted."""

    untagged: str = ""
    deleted: str = ""


class Pruned(Answer, frozen=True, kw_only=True):
    """What a prune removed (the fields of other kinds are empty)."""

    containers_deleted: tuple[str, ...] = ()
    images_deleted: tuple[RemovedImage, ...] = ()
    networks_deleted: tuple[str, ...] = ()
    volumes_deleted: tuple[str, ...] = ()
    space_reclaimed: int = 0


# --- networks, volumes ----------------------------------------------------------------------------


class Pool(Answer, frozen=True, kw_only=True):
    subnet: str = ""
    gateway: str = ""
    ip_range: str = msgspec.field(default="", name="IPRange")


class Ipam(Answer, frozen=True, kw_only=True):
    driver: str = ""
    config: tuple[Pool, ...] = ()
    options: dict[str, str] = {}


class Network(Answer, frozen=True, kw_only=True):
    id: str
    name: str = ""
    created: datetime = NEVER
    scope: str = ""
    driver: str = ""
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    internal: bool = False
    ipam: Ipam = msgspec.field(default=Ipam(), name="IPAM")
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class Volume(Answer, frozen=True, kw_only=True):
    name: str
    driver: str = ""
    mountpoint: str = ""
    labels: dict[str, str] = {}
    scope: str = ""
    options: dict[str, str] = {}


# --- engine ---------------------------------------------------------------------------------------


class Actor(Answer, frozen=True, kw_only=True):
    id: str = msgspec.field(default="", name="ID")
    attributes: dict[str, str] = {}


class Event(Answer, frozen=True, kw_only=True):
    """Something that happened. ``time_ns`` in nanoseconds since the epoch."""

    type: str = ""
    action: str = ""
    actor: Actor = Actor()
    scope: str = msgspec.field(default="", name="scope")
    time_ns: int = msgspec.field(default=0, name="timeNano")


class Version(Answer, frozen=True, kw_only=True):
    version: str = ""
    api_version: str = ""
    min_api_version: str = msgspec.field(default="", name="MinAPIVersion")
    os: str = ""
    arch: str = ""
    kernel_version: str = ""


class Info(Answer, frozen=True, kw_only=True):
    id: str = msgspec.field(default="", name="ID")
    name: str = ""
    server_version: str = ""
    containers: int = 0
    containers_running: int = 0
    containers_paused: int = 0
    containers_stopped: int = 0
    images: int = 0
    driver: str = ""
    cgroup_driver: str = ""
    cgroup_version: str = ""
    kernel_version: str = ""
    operating_system: str = ""
    architecture: str = ""
    cpus: int = msgspec.field(default=0, name="NCPU")
    memory: int = msgspec.field(default=0, name="MemTotal")
    data_root: str = msgspec.field(default="", name="DockerRootDir")
    default_runtime: str = ""
    security_options: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


# --- decoding -------------------------------------------------------------------------------------


def ask(
    session: Session,
    kind: type[T],
    method: str,
    path: str,
    query: Mapping[str, Any] = {},
    *,
    json: object = None,
) -> T:
    """Make a request and give its answer as a value of ``kind``."""
    body = None if json is None else encode_body(json)
    headers = {"Content-Type": "application/json"} if json is not None else {}
    data = session.request(method, path, query, body=body, headers=headers).read()
    return decode(data, kind)


def encode_body(value: object) -> bytes:
    """JSON of plain values and of structs."""
    return encode_json(msgspec.to_builtins(value))


def decode(data: bytes | str, kind: type[T]) -> T:
    """Decode an answer; InternalError if it does not have the form of ``kind``."""
    try:
        value = _without_nulls(json.loads(data or "null"))
        if value is None:
            value = [] if get_origin(kind) is tuple else {}
        learnt(kind)
        return msgspec.convert(value, kind, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise InternalError(f"the engine's answer is not as expected: {error}") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
