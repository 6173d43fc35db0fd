"""What the embedded resolver is told of containers: who is called what, and who sees whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wherry.engine.networks.requests import (
    dns_names,
    in_order_of_gateways,
    is_user_defined,
    parse_link,
)
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.model.container import EndpointSettings
from wherry.network.api import Endpoint, Listening, PublishedPort, Resolver, Sandbox
from wherry.network.names import checked_servers
from wherry.network.resolver.protocol import Member, View


class NameService:
    """Containers without a user-defined network are none of its business."""

    def __init__(self, settings: EngineSettings, resolver: Resolver) -> None:
        self._settings = settings
        self._resolver = resolver

    def tell(self, record: Container, endpoints: Iterable[Endpoint], sandbox: Sandbox) -> None:
        """Make a container with these endpoints known, and answer its own questions."""
        all_of = list(endpoints)
        known = [one for one in all_of if is_user_defined(one.network_name)]
        if not known:
            self._resolver.forget(record.id)
            return
        for endpoint in known:
            self._resolver.announce(_member(record, endpoint))
        self._resolver.serve(self._view(record, all_of), sandbox)

    def rename(self, record: Container) -> None:
        """Make a container known that runs by another name."""
        for endpoint in record.endpoints.values():
            if is_user_defined(endpoint.network_name):
                self._resolver.announce(_member(record, endpoint))

    def follow(self, container_id: str, pid: int) -> None:
        """The process of a container that was started."""
        self._resolver.follow(container_id, pid)

    def withdraw(self, endpoint: Endpoint) -> None:
        """Nobody is there any more. Idempotent."""
        self._resolver.withdraw(endpoint.network_id, endpoint.container_id)

    def forget(self, container_id: str) -> None:
        """Answer a container no more. Idempotent."""
        self._resolver.forget(container_id)

    def listen(self, container_id: str, ports: Sequence[Listening]) -> None:
        """Lead ports to a container that the packet filter cannot lead there."""
        self._resolver.listen(container_id, ports)

    def unlisten(self, container_id: str, ports: Sequence[PublishedPort] | None = None) -> None:
        """Listen on ports no more, on none without ``ports``. Idempotent."""
        self._resolver.unlisten(container_id, ports)

    def restore(
        self,
        records: Iterable[Container],
        ports: Mapping[str, tuple[int, Sequence[Listening]]],
    ) -> None:
        """After an engine's restart: the containers that run, and ports of theirs, by id."""
        served: list[tuple[View, int]] = []
        members: list[Member] = []
        for record in records:
            all_of = record.endpoints.values()
            known = [one for one in all_of if is_user_defined(one.network_name)]
            if known:
                served.append((self._view(record, all_of), record.state.pid))
                members += [_member(record, endpoint) for endpoint in known]
        self._resolver.restore(served, members, ports)

    def _view(self, record: Container, all_of: Iterable[Endpoint]) -> View:
        """``all_of``: its endpoints. Internal networks have no gateway."""
        ways = in_order_of_gateways(record, all_of)
        ordered = [one for one in ways if is_user_defined(one.network_name)]
        asked = tuple(record.host.dns or ()) or self._settings.dns
        return View(
            container_id=record.id,
            networks=tuple(one.network_id for one in ordered),
            links={one.network_id: _links(record, one) for one in ordered},
            servers=checked_servers(asked),
            forward=any(one.leads_out for one in ways),
        )


def _settings(record: Container, endpoint: Endpoint) -> EndpointSettings:
    return record.networking.get(endpoint.network_name, EndpointSettings())


def _member(record: Container, endpoint: Endpoint) -> Member:
    return Member(
        network_id=endpoint.network_id,
        network_name=endpoint.network_name,
        container_id=record.id,
        names=dns_names(record, _settings(record, endpoint)),
        ipv4=endpoint.ipv4,
        ipv6=endpoint.ipv6,
    )


def _links(record: Container, endpoint: Endpoint) -> dict[str, str]:
    """Alias to container, as the resolver compares them: in small letters."""
    links = (parse_link(one) for one in _settings(record, endpoint).links or ())
    return {alias.lower(): container.lower() for container, alias in links}
