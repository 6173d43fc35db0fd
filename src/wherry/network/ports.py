"""Ports of the host: which ones a request means, and the sockets that hold them.

A published port is translated by the packet filter, no process listens on it. A socket that is
bound to it, and does not listen, shows a clash with any other program and keeps others from
taking the port later.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import msgspec

from wherry.errors import Conflict, InternalError, InvalidArgument, NotSupported
from wherry.network.api import Endpoint, PortRequest, PublishedPort
from wherry.network.records import PortMapping
from wherry.network.subnets import parse_address

IPPROTO_SCTP = 132
_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, IPPROTO_SCTP),
}
_RANDOM_ATTEMPTS = 32
_BACKLOG = 512
_RECEIVE_BUFFER = 4096  # nothing is ever read from these sockets


class PortTaken(Conflict):
    """A port of the host is in use, in the words by which clients of Docker know it."""

    def __init__(self, protocol: str, host_ip: str, port: int, before: str = "", after: str = ""):
        sentence = f"Bind for {_joined(host_ip, port)} failed: port is already allocated"
        super().__init__(before + sentence + after)
        self.protocol = protocol
        self.host_ip = host_ip
        self.port = port

    def of_endpoint(self, endpoint: Endpoint, holder: Endpoint | None) -> PortTaken:
        """The same, saying whose port it should have been and, if known, whose it is."""
        before = (
            f"driver failed programming external connectivity on endpoint {_called(endpoint)} "
            f"({endpoint.id}): "
        )
        after = f" (by container {_called(holder)})" if holder else ""
        return PortTaken(self.protocol, self.host_ip, self.port, before, after)


def _called(endpoint: Endpoint) -> str:
    return endpoint.container_name or endpoint.container_id[:12]


def _joined(host_ip: str, port: int) -> str:
    return f"[{host_ip}]:{port}" if ":" in host_ip else f"{host_ip}:{port}"


class Reservation(msgspec.Struct, frozen=True):
    """Ports with the sockets that hold them, in the same order; those that a process listens on
    do listen, if they are of TCP."""

    mappings: tuple[PortMapping, ...]
    sockets: tuple[int, ...]

    def close(self) -> None:
        for fd in self.sockets:
            os.close(fd)


def reserve(endpoint: Endpoint, requests: Sequence[PortRequest], default_ip: str) -> Reservation:
    """Take all ports, or none. ``default_ip`` is for requests without an address; empty: all.

    PortTaken; InvalidArgument for an address that the host does not have; NotSupported.
    """
    mappings: list[PortMapping] = []
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        for request in requests:
            addresses = _addresses(endpoint, request.host_ip or default_ip, request.protocol)
            bound = _bind_request(request, addresses)
            sockets += [undo.enter_context(one) for one in bound]
            found = [_mapping(endpoint, request, one) for one in bound]
            _listen(zip(found, bound, strict=True))
            mappings += found
        undo.pop_all()
    return Reservation(tuple(mappings), tuple(one.detach() for one in sockets))


def _listen(ports: Iterable[tuple[PortMapping, socket.socket]]) -> None:
    for mapping, one in ports:
        if mapping.is_listened_on and mapping.protocol == "tcp":
            _begin_to_listen(one)


def _begin_to_listen(one: socket.socket) -> None:
    """Its connections must not keep the port when they have ended (TIME_WAIT), so that the next
    socket may share with them, as :func:`_bind_past_time_wait` does."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.listen(_BACKLOG)


def bind_again(port: PublishedPort) -> int:
    """A socket for a published port that is to be listened on, whose earlier one is lost.
    PortTaken, and as :func:`reserve`."""
    one = _bind(port.protocol, port.host_ip, port.host_port)
    if port.protocol == "tcp":
        _begin_to_listen(one)
    return one.detach()


def target_of(endpoint: Endpoint, protocol: str, host_ip: str) -> str:
    """The address of a container to which a port of the host leads: of the same family if it has
    one; empty if there is no way."""
    same, other = endpoint.ipv4, endpoint.ipv6
    if ":" in host_ip:
        same, other = other, same
    return same or (other if protocol != "sctp" else "")


def _addresses(endpoint: Endpoint, host_ip: str, protocol: str) -> tuple[str, ...]:
    """The addresses to bind for one request; NotSupported if they cannot lead to the endpoint."""
    if not host_ip:
        wildcards = ("0.0.0.0", "::") if host_has_ipv6() else ("0.0.0.0",)  # noqa: S104
        return tuple(one for one in wildcards if target_of(endpoint, protocol, one))
    address = parse_address(host_ip)
    if not target_of(endpoint, protocol, str(address)):
        raise NotSupported(
            f"cannot publish a port on {address}: the container has no IPv{address.version} "
            f"address in network {endpoint.network_name}"
        )
    return (str(address),)


def _mapping(endpoint: Endpoint, request: PortRequest, bound: socket.socket) -> PortMapping:
    host_ip, host_port = bound.getsockname()[:2]
    return PortMapping(
        protocol=request.protocol,
        host_ip=str(ipaddress.ip_address(host_ip)),
        host_port=host_port,
        container_ip=target_of(endpoint, request.protocol, host_ip),
        container_port=request.container_port,
    )


def host_has_ipv6() -> bool:
    return os.path.exists("/proc/net/if_inet6")


def _bind_request(request: PortRequest, addresses: Sequence[str]) -> list[socket.socket]:
    """Sockets on one port of all the addresses."""
    _check_ports(request)
    last: PortTaken | None = None
    for port in _candidates(request):
        try:
            return _bind_all(request.protocol, addresses, port)
        except PortTaken as error:
            last = error
    raise last or InternalError("no port was asked for")


def _check_ports(request: PortRequest) -> None:
    first, last = request.host_port_first, request.host_port_last or request.host_port_first
    if not 0 < request.container_port <= 0xFFFF or not 0 <= first <= last <= 0xFFFF:
        raise InvalidArgument(
            f"invalid port: {first}-{last}:{request.container_port}/{request.protocol} is not "
            "within 1 to 65535"
        )


def _candidates(request: PortRequest) -> Iterable[int]:
    """Port 0 lets the kernel choose. With two addresses its choice for the first may be taken on
    the second, so there are several attempts."""
    if not request.host_port_first:
        return [0] * _RANDOM_ATTEMPTS
    return range(request.host_port_first, max(request.host_port_first, request.host_port_last) + 1)


def _bind_all(protocol: str, addresses: Sequence[str], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    with ExitStack() as undo:
        for address in addresses:
            one = _bind(protocol, address, port)
            bound.append(undo.enter_context(one))
            port = one.getsockname()[1]
        undo.pop_all()
    return bound


def _bind(protocol: str, address: str, port: int) -> socket.socket:
    try:
        return _bound_socket(protocol, address, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and protocol == "tcp":
            return _bind_past_time_wait(address, port)
        raise _explained(error, protocol, address, port) from error


def _bind_past_time_wait(address: str, port: int) -> socket.socket:
    """Connections of a server that has ended keep its port for a minute (TIME_WAIT). A socket
    that may share with those may share with others too, until it listens."""
    try:
        return _bound_socket("tcp", address, port, _listen_reusing)
    except OSError as error:
        raise _explained(error, "tcp", address, port) from error


def _listen_reusing(one: socket.socket, address: str, port: int) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, port))
    one.listen(0)


def _just_bind(one: socket.socket, address: str, port: int) -> None:
    one.bind((address, port))


def _bound_socket(
    protocol: str,
    address: str,
    port: int,
    bind: Callable[[socket.socket, str, int], None] = _just_bind,
) -> socket.socket:
    kind, number = _KINDS[protocol]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, kind, number)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bind(one, address, port)
    except BaseException:
        one.close()
        raise
    return one


def _explained(error: OSError, protocol: str, address: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(protocol, address, port)
    where = _joined(address, port)
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(
            f"listen {protocol} {where}: bind: cannot assign requested address: this host does "
            "not have it"
        )
    if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return NotSupported(f"cannot publish {where}/{protocol}: this kernel has no such protocol")
    return InternalError(f"cannot bind {where}/{protocol}: {error.strerror}")
