"""The seam between the engine and the networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Protocol_ = Literal["tcp", "udp", "sctp"]


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    """One address pool of a network. Addresses are text, subnets in CIDR form."""

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: dict[str, str] = {}


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A network to make. Without subnets one is chosen from the engine's default pools."""

    name: str
    driver: str = "bridge"
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    ipv6: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class Network(msgspec.Struct, frozen=True, kw_only=True):
    id: str  # 64 hex digits
    name: str
    driver: str
    subnets: tuple[Subnet, ...]
    internal: bool
    ipv6: bool
    attachable: bool
    options: dict[str, str]
    labels: dict[str, str]
    created_ns: int
    interface: str = ""  # the bridge's name on the host


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    container_id: str
    container_name: str = ""  # for messages
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One attachment of a container to a network. Absent values are empty strings."""

    id: str  # 64 hex digits
    network_id: str
    network_name: str
    container_id: str
    container_name: str = ""  # for messages, as it was when the endpoint was made
    mac: str
    ipv4: str
    ipv4_prefix: int
    gateway: str
    ipv6: str = ""
    ipv6_prefix: int = 0
    ipv6_gateway: str = ""
    interface: str = ""  # inside the sandbox
    host_interface: str = ""


class PortRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Publish a container's port. ``host_port_first`` 0 asks for any free one; a range asks for
    any free one in it."""

    container_port: int
    protocol: Protocol_ = "tcp"
    host_ip: str = ""  # empty: all addresses
    host_port_first: int = 0
    host_port_last: int = 0


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    container_port: int
    protocol: Protocol_
    host_ip: str
    host_port: int


class Sandbox(Protocol):
    """A network namespace, held by descriptor. It lives while the descriptor or a process does."""

    @property
    def netns_fd(self) -> int: ...

    def close(self) -> None: ...


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """Ports that were published, and the bound sockets that keep others from taking them.

    The sockets go to the container's monitor, so that they live as long as the container; the
    engine closes its own copies.
    """

    ports: tuple[PublishedPort, ...]
    sockets: tuple[int, ...]


class Networks(Protocol):
    """All networks of one engine. Safe to call from several threads."""

    def create(self, request: NetworkRequest) -> Network:
        """Conflict if the name exists or the subnet overlaps; InvalidArgument."""
        ...

    def get(self, name_or_id: str) -> Network:
        """By name, id or unambiguous prefix of the id; NotFound, InvalidArgument if ambiguous."""
        ...

    def list(self) -> tuple[Network, ...]: ...

    def remove(self, name_or_id: str) -> None:
        """PermissionDenied for predefined ones, Conflict while it has endpoints."""
        ...

    def new_sandbox(self) -> Sandbox:
        """A fresh network namespace with ``lo`` up (from a small pool)."""
        ...

    def open_sandbox(self, pid: int) -> Sandbox:
        """The namespace of a running process."""
        ...

    def connect(self, network: str, sandbox: Sandbox, request: EndpointRequest) -> Endpoint:
        """Attach a sandbox: link, addresses, routes. Nothing is left after an error."""
        ...

    def disconnect(self, endpoint: Endpoint) -> None:
        """Remove the link and release the addresses. Idempotent."""
        ...

    def endpoints(self, network: str) -> tuple[Endpoint, ...]: ...

    def publish(self, endpoint: Endpoint, ports: Sequence[PortRequest]) -> Publication:
        """Publish all ports or none. Conflict names the port and, if known, its holder."""
        ...

    def unpublish(self, endpoint: Endpoint) -> None:
        """Take back all published ports of an endpoint. Idempotent."""
        ...

    def reconcile(self, live: Sequence[Endpoint]) -> None:
        """After an engine's restart: remove links, leases and rules of all endpoints but these,
        and make sure that what these need is there."""
        ...

    def close(self) -> None:
        """Stop the pool. Networks stay."""
        ...
