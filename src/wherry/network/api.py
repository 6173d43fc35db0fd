"""The seam between the engine and the networks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from wherry.network.resolver.protocol import Member, View

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
    ipv4: bool = True
    ipv6: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    ipam_options: dict[str, str] = {}
    labels: dict[str, str] = {}
    config_only: bool = False
    config_from: str = ""


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
    interface: str = ""  # on the host: the bridge, or the parent of macvlan and ipvlan
    ipv4: bool = True
    ipam_options: dict[str, str] = {}  # kept and shown, as Docker's driver for addresses does
    config_only: bool = False  # see wherry.network.configurations
    config_from: str = ""  # the name of one
    made_interface: bool = False
    """Whether the parent is ours, to be removed with the network."""


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    container_id: str
    container_name: str = ""  # for messages
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    link_local: tuple[str, ...] = ()  # more addresses, which nobody leases
    interface: str = ""  # inside the sandbox; empty: the next free eth0, eth1, ...


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
    link_local: tuple[str, ...] = ()
    interface: str = ""  # inside the sandbox
    host_interface: str = ""  # empty for macvlan and ipvlan, which have nothing on the host
    on_link: bool = False
    """Whether all the world is reached through the link itself, without a gateway."""

    @property
    def leads_out(self) -> bool:
        """Whether a default route may lead through it."""
        return bool(self.gateway or self.ipv6_gateway or self.on_link)


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


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """A published port that a process has to listen on, since the packet filter cannot lead it to
    the container: ``[::1]``, and addresses of a family that the container lacks."""

    port: PublishedPort
    address: str  # of the container
    socket: int = -1  # bound and, of TCP, listening; -1 if it is somewhere already


class Sandbox(Protocol):
    """A network namespace, held by descriptor. It lives while the descriptor or a process does."""

    @property
    def netns_fd(self) -> int: ...

    def close(self) -> None: ...


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """Ports that were published, and the bound sockets that keep others from taking them.

    The sockets go to the container's monitor, so that they live as long as the container, those
    of ``listening`` to the :class:`Resolver`; the engine closes its own copies.
    """

    ports: tuple[PublishedPort, ...]
    sockets: tuple[int, ...]
    listening: tuple[Listening, ...] = ()

    def close(self) -> None:
        for descriptor in (*self.sockets, *(one.socket for one in self.listening)):
            os.close(descriptor)


class Networks(Protocol):
    """All networks of one engine. Safe to call from several threads."""

    def create(self, request: NetworkRequest) -> Network:
        """Conflict if the name exists, PermissionDenied if the subnet overlaps, NotFound for a
        driver; InvalidArgument."""
        ...

    def get(self, name_or_id: str) -> Network:
        """By name, id or unambiguous prefix of the id; NotFound, InvalidArgument if ambiguous."""
        ...

    def list(self) -> tuple[Network, ...]: ...

    def remove(self, name_or_id: str) -> None:
        """PermissionDenied for predefined ones, and for one that has endpoints."""
        ...

    def new_sandbox(self) -> Sandbox:
        """A fresh network namespace with ``lo`` up (from a small pool)."""
        ...

    def adopt_sandbox(self, netns_fd: int) -> Sandbox:
        """A fresh network namespace that another user namespace owns, with ``lo`` up; takes over
        the descriptor."""
        ...

    def open_sandbox(self, pid: int) -> Sandbox:
        """The namespace of a running process."""
        ...

    def connect(self, network: str, sandbox: Sandbox, request: EndpointRequest) -> Endpoint:
        """Attach a sandbox: link, addresses, routes. Nothing is left after an error."""
        ...

    def disconnect(self, endpoint: Endpoint, sandbox: Sandbox | None = None) -> None:
        """Remove the link and release the addresses, soon (:meth:`drain`). Idempotent.

        ``sandbox`` is needed if its container goes on: some links are to be found there only."""
        ...

    def drain(self) -> None:
        """Wait until everything of disconnected endpoints is gone from the kernel."""
        ...

    def choose_gateway(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """Lead the default route of each address family through the first of these endpoints that
        has a gateway of it."""
        ...

    def endpoints(self, network: str) -> tuple[Endpoint, ...]: ...

    def publish(self, endpoint: Endpoint, ports: Sequence[PortRequest]) -> Publication:
        """Publish all ports or none. Conflict names the port and, if known, its holder. Nothing
        is published of an internal network, nor of one that is on the wire itself (macvlan)."""
        ...

    def listening(
        self, endpoint: Endpoint, ports: Sequence[PublishedPort]
    ) -> tuple[Listening, ...]:
        """Which of the ports that a container has are to be listened on, without sockets."""
        ...

    def unpublish(self, endpoint: Endpoint) -> None:
        """Take back all published ports of an endpoint. Idempotent."""
        ...

    def unpublish_some(self, endpoint: Endpoint, ports: Sequence[PublishedPort]) -> None:
        """Take back some of the published ports of an endpoint, in one step. Idempotent."""
        ...

    def republish(self, endpoint: Endpoint, ports: Sequence[PublishedPort]) -> None:
        """Lead ports that a container has already (:meth:`publish`) to another of its endpoints;
        those of an address family that the endpoint lacks lead nowhere."""
        ...

    def reconcile(self, live: Sequence[Endpoint]) -> None:
        """After an engine's restart: remove links, leases and rules of all endpoints but these,
        and make sure that what these need is there."""
        ...

    def close(self) -> None:
        """Stop the pool. Networks stay."""
        ...


class Resolver(Protocol):
    """The engine's helper process: the embedded resolver of user-defined networks, and who listens
    on ports that the packet filter cannot lead anywhere. Safe to call from several threads."""

    def restore(
        self,
        served: Iterable[tuple[View, int]],
        members: Iterable[Member],
        ports: Mapping[str, tuple[int, Sequence[Listening]]],
    ) -> None:
        """After an engine's restart: what there is, with the pids of the containers. ``ports`` is
        by container."""
        ...

    def listen(self, container_id: str, ports: Sequence[Listening]) -> None:
        """Lead ports to a container, or elsewhere than before. InternalError without a helper."""
        ...

    def unlisten(self, container_id: str, ports: Sequence[PublishedPort] | None = None) -> None:
        """Close sockets of a container, all without ``ports``. Idempotent; never fails."""
        ...

    def announce(self, member: Member) -> None:
        """Somebody is on a network, or is called otherwise than before. InvalidArgument for too
        many names, InternalError without a resolver."""
        ...

    def withdraw(self, network_id: str, container_id: str) -> None:
        """Idempotent; never fails."""
        ...

    def serve(self, view: View, sandbox: Sandbox) -> None:
        """Answer a container at 127.0.0.11 from now on, or change what it sees. InvalidArgument
        for too many links, InternalError if there can be no resolver."""
        ...

    def follow(self, container_id: str, pid: int) -> None:
        """The process of a container that is served. Idempotent; never fails."""
        ...

    def forget(self, container_id: str) -> None:
        """Answer a container no more; its ports stay. Idempotent; never fails."""
        ...

    def close(self) -> None:
        """Part from it; it goes on while there are containers."""
        ...
