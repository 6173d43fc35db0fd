"""From ``-p``, ``-P`` and EXPOSE to the ports that a network is asked to publish."""

from __future__ import annotations

import ipaddress

from wherry.errors import InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, PortBinding
from wherry.network.api import PortRequest, Protocol_

_PROTOCOLS: dict[str, Protocol_] = {"tcp": "tcp", "udp": "udp", "sctp": "sctp"}


def parse_port(text: str) -> tuple[int, Protocol_]:
    """``80`` or ``80/udp``; InvalidArgument for anything else."""
    number, _, protocol = text.partition("/")
    known = _PROTOCOLS.get((protocol or "tcp").lower())
    if known is None:
        raise InvalidArgument(f"invalid proto: {protocol}")
    return _number(number, text), known


def _number(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
        raise InvalidArgument(f"invalid port specification: {whole!r} (want 1 to 65535)")
    return int(text)


def _host_range(text: str) -> tuple[int, int]:
    if text in ("", "0"):
        return 0, 0
    first, dash, last = text.partition("-")
    low = _number(first, text)
    high = _number(last, text) if dash else low
    if high < low:
        raise InvalidArgument(f"invalid range specified for port: {text}")
    return low, high


def port_requests(config: ContainerConfig, host: HostConfig) -> tuple[PortRequest, ...]:
    """What to publish for a container, explicit bindings first."""
    requests: list[PortRequest] = []
    bound: set[tuple[int, Protocol_]] = set()
    for text, bindings in (host.port_bindings or {}).items():
        port = parse_port(text)
        bound.add(port)
        for binding in bindings or (PortBinding(),):
            requests.append(_request(port, binding))
    if host.publish_all_ports:
        exposed = (parse_port(text) for text in config.exposed_ports or {})
        requests += [_request(port, PortBinding()) for port in exposed if port not in bound]
    return tuple(requests)


def _request(port: tuple[int, Protocol_], binding: PortBinding) -> PortRequest:
    if binding.host_ip:
        try:
            ipaddress.ip_address(binding.host_ip)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {binding.host_ip}") from None
    first, last = _host_range(binding.host_port)
    return PortRequest(
        container_port=port[0],
        protocol=port[1],
        host_ip=binding.host_ip,
        host_port_first=first,
        host_port_last=last,
    )
