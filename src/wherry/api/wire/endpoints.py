"""Networks of a container and its ports, in lists and in inspections."""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.api.wire.base import Wire
from wherry.engine.networks.requests import dns_names, is_user_defined
from wherry.engine.records import Container
from wherry.model.container import EndpointSettings
from wherry.network.api import Endpoint, PublishedPort

UNSET = msgspec.UNSET
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - told, not bound


class Port(Wire, frozen=True, kw_only=True):
    """Definition Port."""

    ip: str | msgspec.UnsetType = msgspec.field(default=UNSET, name="IP")
    private_port: int
    public_port: int | msgspec.UnsetType = UNSET
    type: str


def endpoint_settings(asked: EndpointSettings, made: Endpoint | None) -> EndpointSettings:
    """What was asked for and what was made of it, as one value."""
    if made is None:
        return asked
    return msgspec.structs.replace(
        asked,
        mac_address=made.mac,
        network_id=made.network_id,
        endpoint_id=made.id,
        gateway=made.gateway,
        ip_address=made.ipv4,
        ip_prefix_len=made.ipv4_prefix,
        ipv6_gateway=made.ipv6_gateway,
        global_ipv6_address=made.ipv6,
        global_ipv6_prefix_len=made.ipv6_prefix,
    )


def networks_of(container: Container) -> dict[str, EndpointSettings]:
    """By name of the network."""
    names = {**container.networking, **container.endpoints}
    return {
        name: endpoint_settings(_asked(container, name), container.endpoints.get(name))
        for name in names
    }


def _asked(container: Container, network: str) -> EndpointSettings:
    """With the names by which the other containers of a network find it."""
    settings = container.networking.get(network, EndpointSettings())
    if not is_user_defined(network):
        return settings
    return msgspec.structs.replace(settings, dns_names=dns_names(container, settings))


def _address(port: PublishedPort) -> str:
    return port.host_ip or _EVERYWHERE


def _exposed(container: Container) -> list[tuple[int, str]]:
    """Ports that the configuration names."""
    found: set[tuple[int, str]] = set()
    for text in container.config.exposed_ports or ():
        number, _, protocol = text.partition("/")
        first, _, last = number.partition("-")
        if first.isdigit() and (last or first).isdigit():
            ports = range(int(first), int(last or first) + 1)
            found.update((port, protocol or "tcp") for port in ports)
    return sorted(found)


def port_list(container: Container) -> list[Port]:
    """For a list of containers; empty while the container does not run."""
    if not container.state.running:
        return []
    published = [
        Port(
            ip=_address(p), private_port=p.container_port, public_port=p.host_port, type=p.protocol
        )
        for p in container.ports
    ]
    taken = {(p.container_port, p.protocol) for p in container.ports}
    hidden = [
        Port(private_port=number, type=protocol)
        for number, protocol in _exposed(container)
        if (number, protocol) not in taken
    ]
    return published + hidden


def port_map(container: Container) -> dict[str, list[dict[str, str]] | None]:
    """For an inspection: null for a port that is exposed and not published."""
    if not container.state.running:
        return {}
    ports: dict[str, list[dict[str, str]] | None] = {
        f"{number}/{protocol}": None for number, protocol in _exposed(container)
    }
    for port in container.ports:
        key = f"{port.container_port}/{port.protocol}"
        binding = {"HostIp": _address(port), "HostPort": str(port.host_port)}
        ports[key] = [*(ports.get(key) or []), binding]
    return ports


def network_settings(container: Container) -> dict[str, Any]:
    """Definition NetworkSettings; the flat fields tell of the default bridge alone."""
    bridge = networks_of(container).get("bridge", EndpointSettings())
    sandbox = next((e.id for e in container.endpoints.values()), "")
    return {
        "Bridge": "",
        "SandboxID": sandbox,
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if container.state.pid else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": port_map(container),
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.endpoint_id,
        "Gateway": bridge.gateway,
        "GlobalIPv6Address": bridge.global_ipv6_address,
        "GlobalIPv6PrefixLen": bridge.global_ipv6_prefix_len,
        "IPAddress": bridge.ip_address,
        "IPPrefixLen": bridge.ip_prefix_len,
        "IPv6Gateway": bridge.ipv6_gateway,
        "MacAddress": bridge.mac_address,
        "Networks": networks_of(container),
    }
