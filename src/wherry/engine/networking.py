"""The network side of one container: its namespace, its attachments, its published ports."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

import msgspec

from wherry.engine.ports import port_requests
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, InvalidArgument
from wherry.model.container import EndpointSettings, HostConfig, NetworkingConfig
from wherry.network.api import (
    Endpoint,
    EndpointRequest,
    Networks,
    PublishedPort,
    Sandbox,
)


@dataclass(frozen=True)
class Connection:
    """What was set up for one start of a container. ``sandbox`` None: the host's namespace."""

    sandbox: Sandbox | None
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    ports: tuple[PublishedPort, ...] = ()
    sockets: tuple[int, ...] = ()

    @property
    def netns_fd(self) -> int | None:
        return self.sandbox.netns_fd if self.sandbox else None

    def close(self) -> None:
        """Close the engine's own copies; the container and its monitor hold theirs."""
        for descriptor in self.sockets:
            os.close(descriptor)
        if self.sandbox:
            self.sandbox.close()


def network_mode(host: HostConfig) -> str:
    """``bridge``, ``host``, ``none``, ``container:REF`` or a network's name."""
    return "bridge" if host.network_mode in ("", "default") else host.network_mode


def requested_networks(
    host: HostConfig, networking: NetworkingConfig
) -> dict[str, EndpointSettings]:
    """The networks to attach to, the one of the network mode first."""
    mode = network_mode(host)
    given = {
        ("bridge" if name == "default" else name): settings or EndpointSettings()
        for name, settings in (networking.endpoints_config or {}).items()
    }
    if mode in ("host", "none") or mode.startswith("container:"):
        if set(given) - {mode}:
            raise InvalidArgument(
                f"conflicting options: cannot attach to networks with network mode {mode}"
            )
        return {}
    first = {mode: given.pop(mode, EndpointSettings())}
    return first | given


class Networking:
    """Connects containers when they start and disconnects them when they end."""

    def __init__(self, networks: Networks, containers: ContainerTable) -> None:
        self._networks = networks
        self._containers = containers

    def connect(self, record: Container) -> Connection:
        """Set up the network of a start; nothing is left after an error."""
        mode = network_mode(record.host)
        if mode == "host":
            return Connection(sandbox=None)
        if mode.startswith("container:"):
            return Connection(sandbox=self._shared(mode.removeprefix("container:")))
        with ExitStack() as undo:
            sandbox = self._networks.new_sandbox()
            undo.callback(sandbox.close)
            if mode == "none" or record.config.network_disabled:
                undo.pop_all()
                return Connection(sandbox=sandbox)
            endpoints = self._attach_all(record, sandbox, undo)
            first = next(iter(endpoints.values()))
            publication = self._networks.publish(first, port_requests(record.config, record.host))
            undo.pop_all()
        return Connection(sandbox, endpoints, publication.ports, publication.sockets)

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
        for name, settings in record.networking.items():
            request = _endpoint_request(record, settings)
            endpoint = self._networks.connect(name, sandbox, request)
            undo.callback(self._networks.disconnect, endpoint)
            endpoints[endpoint.network_name] = endpoint
        return endpoints

    def disconnect(self, endpoints: Iterable[Endpoint]) -> None:
        """Take back ports, links and addresses. Idempotent."""
        for endpoint in endpoints:
            self._networks.unpublish(endpoint)
            self._networks.disconnect(endpoint)


def _endpoint_request(record: Container, settings: EndpointSettings) -> EndpointRequest:
    ipam = settings.ipam_config
    return EndpointRequest(
        container_id=record.id,
        container_name=record.name,
        ipv4=ipam.ipv4_address if ipam else "",
        ipv6=ipam.ipv6_address if ipam else "",
        mac=settings.mac_address or record.config.mac_address or "",
    )


def report_endpoint(settings: EndpointSettings, endpoint: Endpoint | None) -> EndpointSettings:
    """What was asked, completed by what was made, as the API reports it."""
    if endpoint is None:
        return settings
    return msgspec.structs.replace(
        settings,
        network_id=endpoint.network_id,
        endpoint_id=endpoint.id,
        gateway=endpoint.gateway,
        ip_address=endpoint.ipv4,
        ip_prefix_len=endpoint.ipv4_prefix,
        ipv6_gateway=endpoint.ipv6_gateway,
        global_ipv6_address=endpoint.ipv6,
        global_ipv6_prefix_len=endpoint.ipv6_prefix,
        mac_address=endpoint.mac,
    )
