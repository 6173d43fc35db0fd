"""The network side of one container: its namespace, its attachments, its published ports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import msgspec

from wherry.engine.events import Events
from wherry.engine.host.user_namespaces import OpenUsers, UserNamespaces
from wherry.engine.networks.name_service import NameService
from wherry.engine.networks.ports import port_requests
from wherry.engine.networks.requests import (
    BRIDGE,
    endpoint_request,
    in_order_of_gateways,
    is_user_defined,
    network_mode,
)
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, NotFound, NotSupported
from wherry.network.api import (
    Endpoint,
    Listening,
    Networks,
    PortRequest,
    Publication,
    PublishedPort,
    Sandbox,
)
from wherry.sys.faults import reach
from wherry.sys.users import make_network

_NOTHING = Publication(ports=(), sockets=())


class Connection(msgspec.Struct, frozen=True):
    """What was set up for one start of a container. ``sandbox`` None: the host's namespace."""

    sandbox: Sandbox | None
    endpoints: dict[str, Endpoint] = {}
    ports: tuple[PublishedPort, ...] = ()
    sockets: tuple[int, ...] = ()
    users: int | None = None
    """A descriptor of the container's user namespace, if that is not the host's."""

    @property
    def user_namespace(self) -> str:
        """A path of it that is good until this is closed; empty for the host's."""
        return "" if self.users is None else f"/proc/{os.getpid()}/fd/{self.users}"

    @property
    def netns_fd(self) -> int | None:
        return self.sandbox.netns_fd if self.sandbox else None

    @property
    def has_resolver(self) -> bool:
        """Whether names are answered at 127.0.0.11 inside."""
        return any(map(is_user_defined, self.endpoints))

    def close(self) -> None:
        """Close the engine's own copies; the container and its monitor hold theirs."""
        for descriptor in self.sockets:
            os.close(descriptor)
        if self.sandbox:
            self.sandbox.close()
        if self.users is not None:
            os.close(self.users)


class Networking:
    """Connects containers when they start and disconnects them when they end."""

    def __init__(
        self,
        networks: Networks,
        containers: ContainerTable,
        names: NameService,
        events: Events,
        users: UserNamespaces,
    ) -> None:
        self._networks = networks
        self._containers = containers
        self._names = names
        self._events = events
        self._users = users

    def connect(self, record: Container) -> Connection:
        """Set up the network of a start, and the namespaces that it belongs to; nothing is left
        after an error."""
        opened = self._users.open(record)
        try:
            connection = self._connect(record, opened)
        except BaseException:
            if opened is not None:
                os.close(opened.users)
            raise
        return msgspec.structs.replace(connection, users=opened.users if opened else None)

    def _connect(self, record: Container, users: OpenUsers | None) -> Connection:
        mode = network_mode(record.host)
        if mode == "host":
            return Connection(sandbox=None)
        if mode.startswith("container:"):
            return Connection(sandbox=self._shared(mode.removeprefix("container:")))
        with ExitStack() as undo:
            sandbox = self._new_sandbox(users)
            undo.callback(sandbox.close)
            if mode == "none" or record.config.network_disabled or not record.networking:
                undo.pop_all()
                return Connection(sandbox=sandbox)
            endpoints = self._attach_all(record, sandbox, undo)
            ways = in_order_of_gateways(record, endpoints.values())
            if len(ways) > 1:
                self._networks.choose_gateway(sandbox, ways)
            publication = self._publish(record, ways)
            undo.callback(_close_all, publication.sockets)
            self._listen(record, publication)
            self._names.tell(record, ways, sandbox)
            reach("names.told")
            undo.pop_all()
        return Connection(sandbox, endpoints, publication.ports, publication.sockets)

    def _new_sandbox(self, users: OpenUsers | None) -> Sandbox:
        if users is None:
            return self._networks.new_sandbox()
        try:
            network = make_network(users.users) if users.network is None else users.network
            return self._networks.adopt_sandbox(network)
        except OSError as error:
            raise NotSupported(
                f"cannot make a network namespace for other users: {error.strerror}"
            ) from error

    def _shared(self, ref: str) -> Sandbox:
        other = self._containers.find(ref).record
        if not other.state.pid:
            raise Conflict(
                f"cannot join network namespace of a non running container: {other.name}"
            )
        return self._networks.open_sandbox(other.state.pid)

    def _attach_all(
        self, record: Container, sandbox: Sandbox, undo: ExitStack
    ) -> dict[str, Endpoint]:
        endpoints: dict[str, Endpoint] = {}
        undo.callback(self._names.forget, record.id)
        undo.callback(self._names.unlisten, record.id)
        for name in record.networking:
            endpoint = self.attach(record, name, sandbox)
            undo.callback(self._detach, endpoint)
            endpoints[endpoint.network_name] = endpoint
        return endpoints

    def _publish(self, record: Container, ways: Iterable[Endpoint]) -> Publication:
        """Ports are published on the endpoint that others come by; internal networks have none."""
        requests = port_requests(record.config, record.host)
        if not requests:
            return _NOTHING
        return self._networks.publish(self.port_endpoint(ways), requests)

    def publish_more(self, record: Container, requests: Sequence[PortRequest]) -> Publication:
        """Publish further ports of a container that runs; the caller closes what it gets, all of
        which is in use already but the sockets to be held."""
        ways = in_order_of_gateways(record, record.endpoints.values())
        publication = self._networks.publish(self.port_endpoint(ways), requests)
        try:
            self._names.listen(record.id, publication.listening)
            self._names.follow(record.id, record.state.pid)
        except BaseException:
            self.unpublish_some(record, publication.ports)
            publication.close()
            raise
        return publication

    def unpublish_some(self, record: Container, ports: Sequence[PublishedPort]) -> None:
        """Take back published ports of a container that runs. Idempotent."""
        self._names.unlisten(record.id, ports)
        for endpoint in record.endpoints.values():
            self._networks.unpublish_some(endpoint, ports)

    def _listen(self, record: Container, publication: Publication) -> None:
        """Hand over the sockets that somebody has to listen on."""
        if publication.listening:
            try:
                self._names.listen(record.id, publication.listening)
            finally:
                _close_all(one.socket for one in publication.listening)

    def port_endpoint(self, ways: Iterable[Endpoint]) -> Endpoint:
        """The first with a gateway; the first of all if none has."""
        found = list(ways)
        return next((one for one in found if one.leads_out), found[0])

    def attach(self, record: Container, network: str, sandbox: Sandbox) -> Endpoint:
        """Make one endpoint of a container, and tell of it."""
        request = endpoint_request(record, network, record.networking[network])
        endpoint = self._networks.connect(network, sandbox, request)
        self._tell("connect", endpoint)
        return endpoint

    def resume(self, records: Iterable[Container]) -> None:
        """After an engine's restart: the names and ports of the containers that run."""
        running = list(records)
        for record in running:
            self._restore_ports(record)
        ports = {one.id: (one.state.pid, self.listening(one)) for one in running if one.ports}
        self._names.restore(running, ports)

    def _restore_ports(self, record: Container) -> None:
        """An engine was killed while it moved them from one endpoint to another."""
        ways = in_order_of_gateways(record, record.endpoints.values())
        if ways and record.ports:
            self._networks.republish(self.port_endpoint(ways), record.ports)

    def listening(self, record: Container) -> tuple[Listening, ...]:
        """The published ports of a running container that are listened on."""
        ways = in_order_of_gateways(record, record.endpoints.values())
        if not ways or not record.ports:
            return ()
        return self._networks.listening(self.port_endpoint(ways), record.ports)

    def renamed(self, record: Container) -> None:
        """Its networks know it by its new name."""
        self._names.rename(record)

    def started(self, container_id: str, pid: int) -> None:
        """The container's process is there."""
        self._names.follow(container_id, pid)

    def disconnect(self, endpoints: Iterable[Endpoint]) -> None:
        """Take back ports, names, links and addresses. Idempotent."""
        for endpoint in endpoints:
            self._names.forget(endpoint.container_id)
            self._names.unlisten(endpoint.container_id)
            self._detach(endpoint)

    def detach(self, endpoint: Endpoint, sandbox: Sandbox | None) -> None:
        """Part a container from one network; ``sandbox`` is its own, if it goes on."""
        self._detach(endpoint, sandbox)
        self._networks.drain()

    def _detach(self, endpoint: Endpoint, sandbox: Sandbox | None = None) -> None:
        self._names.withdraw(endpoint)
        self._networks.unpublish(endpoint)
        self._networks.disconnect(endpoint, sandbox)
        self._tell("disconnect", endpoint)

    def _tell(self, action: str, endpoint: Endpoint) -> None:
        self._events.emit(
            "network",
            action,
            endpoint.network_id,
            {
                "container": endpoint.container_id,
                "name": endpoint.network_name,
                "type": self._driver(endpoint),
            },
        )

    def _driver(self, endpoint: Endpoint) -> str:
        try:
            return self._networks.get(endpoint.network_id).driver
        except NotFound:  # it was removed meanwhile
            return BRIDGE


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
