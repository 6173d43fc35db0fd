"""Networks that containers are connected to and disconnected from, running or not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import msgspec

from wherry.engine.api import NO_FILTERS, Filters
from wherry.engine.events import Events
from wherry.engine.filters import as_time, check_names, labels_match
from wherry.engine.networks.name_files import NameFileWriter
from wherry.engine.networks.name_service import NameService
from wherry.engine.networks.networking import Networking
from wherry.engine.networks.requests import (
    check_settings,
    in_order_of_gateways,
    is_user_defined,
    network_mode,
    parse_link,
    wish,
)
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from wherry.model.container import EndpointSettings
from wherry.network.api import Endpoint, Network, NetworkRequest, Networks, Sandbox

_PRUNE_FILTERS = ("label", "label!", "until")


class _Ended(Conflict):
    """A container whose process is gone already."""


class Attachments:
    """Implements ``engine.api.AttachmentApi``."""

    def __init__(
        self,
        table: ContainerTable,
        networks: Networks,
        networking: Networking,
        names: NameService,
        files: NameFileWriter,
        events: Events,
    ) -> None:
        self._table = table
        self._networks = networks
        self._networking = networking
        self._names = names
        self._files = files
        self._events = events

    # --- networks --------------------------------------------------------------------------

    def create(self, request: NetworkRequest) -> Network:
        network = self._networks.create(request)
        self._tell("create", network)
        return network

    def remove(self, ref: str) -> None:
        network = self._networks.get(ref)
        self._networks.remove(network.id)
        self._tell("destroy", network)

    def prune(self, filters: Filters = NO_FILTERS) -> tuple[str, ...]:
        check_names(filters, _PRUNE_FILTERS)
        before = [as_time(text, time.time_ns()) for text in filters.get("until", ())]
        used = {name for entry in self._table for name in entry.record.networking}
        gone = []
        for network in self._networks.list():
            old = all(network.created_ns < moment for moment in before)
            unused = is_user_defined(network) and network.name not in used
            unused = unused and not network.config_only
            if old and unused and _labels_fit(network, filters) and self._removed(network):
                gone.append(network.name)
        return tuple(gone)

    def _removed(self, network: Network) -> bool:
        """Remove it, unless somebody begins to use it, or removes it, at this moment."""
        try:
            self.remove(network.id)
        except (PermissionDenied, NotFound):
            return False
        return True

    def _tell(self, action: str, network: Network) -> None:
        attributes = {"name": network.name, "type": network.driver}
        self._events.emit("network", action, network.id, attributes)

    # --- containers ------------------------------------------------------------------------

    def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        network = self._networks.get(ref)
        entry = self._table.find(container)
        with entry.lock:
            record = entry.record
            _check_connectable(record, network)
            check_settings(network, settings)
            wanted = msgspec.structs.replace(
                record, networking={**record.networking, network.name: wish(settings)}
            )
            if record.state.pid:
                wanted = self._connect_running(wanted, network)
            self._table.save(entry, wanted)

    def _connect_running(self, record: Container, network: Network) -> Container:
        with self._inside(record) as sandbox:
            endpoint = self._networking.attach(record, network.name, sandbox)
            try:
                now = _with_endpoints(record, {**record.endpoints, network.name: endpoint})
                self._settle(record, now, sandbox)
            except BaseException:
                self._networking.detach(endpoint, sandbox)
                raise
        self._files.attached(now, endpoint)
        return now

    def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        network = self._networks.get(ref)
        try:
            entry = self._table.find(container)
        except NotFound:
            if not force:
                raise
            self._disconnect_stranger(network, container)
            return
        with entry.lock:
            record = entry.record
            if network.name not in record.networking:
                raise PermissionDenied(
                    f"container {record.id} is not connected to network {network.name}"
                )
            rest = {n: s for n, s in record.networking.items() if n != network.name}
            wanted = msgspec.structs.replace(record, networking=rest)
            endpoint = record.endpoints.get(network.name)
            if endpoint:
                self._disconnect_running(entry, wanted, endpoint)
            else:
                self._table.save(entry, wanted)

    def _disconnect_running(self, entry: Entry, wanted: Container, endpoint: Endpoint) -> None:
        record = entry.record
        rest = {n: e for n, e in record.endpoints.items() if n != endpoint.network_name}
        now = _with_endpoints(wanted, rest)
        try:
            with self._inside(record) as sandbox:
                self._settle(record, now, sandbox)
                self._part(entry, now, endpoint, sandbox)
        except _Ended:
            self._part(entry, now, endpoint, None)
        self._files.detached(now, endpoint)

    def _part(
        self, entry: Entry, now: Container, endpoint: Endpoint, sandbox: Sandbox | None
    ) -> None:
        """Recorded first: of an engine that is killed here a link is left that nobody has, which
        the next one removes."""
        self._table.save(entry, now)
        self._networking.detach(endpoint, sandbox)

    def remove_link(self, name: str) -> None:
        owner, _, alias = name.removeprefix("/").partition("/")
        entry = self._table.find(owner)
        with entry.lock:
            before = entry.record
            linked = [parse_link(one) for one in before.host.links or ()]
            target = next((other for other, known in linked if known == alias), "")
            if not target:
                raise NotFound(f"No such link: {name}")
            now = _without_link(before, alias)
            if now.state.pid:
                self._forget_link(now, target)
            self._table.save(entry, now)

    def _forget_link(self, record: Container, target: str) -> None:
        with suppress(NotFound):
            others = self._table.find(target).record.endpoints.values()
            self._files.unlinked(record, [one.ipv4 for one in others])
        with suppress(_Ended), self._inside(record) as sandbox:
            self._names.tell(record, record.endpoints.values(), sandbox)

    def _disconnect_stranger(self, network: Network, container: str) -> None:
        """An endpoint of which no container is known any more."""
        for endpoint in self._networks.endpoints(network.id):
            if container in (endpoint.container_id, endpoint.container_name):
                self._networking.detach(endpoint, None)
                return
        raise NotFound(f"No such container: {container}")

    @contextmanager
    def _inside(self, record: Container) -> Iterator[Sandbox]:
        """The namespace of a container that runs; _Ended if its end is about to be recorded."""
        try:
            sandbox = self._networks.open_sandbox(record.state.pid)
        except NotFound:
            raise _Ended(f"container {record.id} is not running: it has just ended") from None
        try:
            yield sandbox
        finally:
            sandbox.close()

    def _settle(self, before: Container, now: Container, sandbox: Sandbox) -> None:
        """Default route, published ports and names, as the endpoints now are."""
        ways = in_order_of_gateways(now, now.endpoints.values())
        self._networks.choose_gateway(sandbox, ways)
        self._names.tell(now, ways, sandbox)
        self._move_ports(before, now, ways)

    def _move_ports(self, before: Container, now: Container, ways: Sequence[Endpoint]) -> None:
        if not now.ports:
            return
        old = in_order_of_gateways(before, before.endpoints.values())
        source = self._networking.port_endpoint(old) if old else None
        target = self._networking.port_endpoint(ways) if ways else None
        if source == target:
            return
        if source:
            self._networks.unpublish(source)
        if target:
            self._networks.republish(target, now.ports)
            self._names.listen(now.id, self._networks.listening(target, now.ports))


def _with_endpoints(record: Container, endpoints: dict[str, Endpoint]) -> Container:
    return msgspec.structs.replace(record, endpoints=endpoints)


def _without_link(record: Container, alias: str) -> Container:
    def rest(links: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return tuple(one for one in links if parse_link(one)[1] != alias) if links else links

    networking = {
        network: msgspec.structs.replace(settings, links=rest(settings.links))
        for network, settings in record.networking.items()
    }
    host = msgspec.structs.replace(record.host, links=rest(record.host.links))
    return msgspec.structs.replace(record, host=host, networking=networking)


def _labels_fit(network: Network, filters: Mapping[str, Sequence[str]]) -> bool:
    unwanted = "label!" in filters and labels_match(filters["label!"], network.labels)
    return labels_match(filters.get("label", ()), network.labels) and not unwanted


def _check_connectable(record: Container, network: Network) -> None:
    mode = network_mode(record.host)
    if mode.startswith("container:"):
        raise InvalidArgument(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if mode == "host":
        raise InvalidArgument(
            "container cannot be disconnected from host network or connected to host network"
        )
    if mode == "none" or record.config.network_disabled:
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
    if record.state.status == "removing":
        raise Conflict(f"container {record.id} is marked for removal and cannot be connected")
    if network.name in record.networking and record.state.pid:  # else it is asked for anew
        raise PermissionDenied(
            f"endpoint with name {record.name} already exists in network {network.name}"
        )
