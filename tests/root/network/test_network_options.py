"""What a network may be asked for: sizes, names, addresses, one address family or two."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.patience import patience

from wherry.errors import Conflict, InvalidArgument, PermissionDenied
from wherry.network.api import PortRequest, Subnet
from wherry.network.sandbox import run_inside
from wherry.sys.netlink.route import Link, RouteConnection

pytestmark = pytest.mark.root

_LONG = patience(20.0)
_MTU = "com.docker.network.driver.mtu"
_BRIDGE = "com.docker.network.bridge."
_PREFIX = "com.docker.network.container_iface_prefix"


def _in(place: Any, work: Callable[[RouteConnection], Any]) -> Any:
    def look() -> Any:
        route = RouteConnection()
        try:
            return work(route)
        finally:
            route.close()

    return run_inside(place.netns_fd, look)


def _link(place: Any, name: str) -> Link:
    found: Link = _in(place, lambda route: route.link(name))
    return found


def test_sizes_and_names_of_interfaces(host: Any, engine: Any) -> None:
    options = {_MTU: "1280", _BRIDGE + "name": "mybridge", _PREFIX: "lan"}
    container = engine.container(engine.network("small", options=options))
    assert container.endpoint.interface == "lan0"
    assert _link(container, "lan0").mtu == 1280
    assert _link(host, "mybridge").mtu == 1280
    assert _link(host, container.endpoint.host_interface).mtu == 1280
    with pytest.raises(Conflict, match="the interface mybridge exists already"):
        engine.network("again", options={_BRIDGE + "name": "mybridge"})


@pytest.mark.parametrize("mtu", ["576", "1500", "9000"])
def test_much_passes_whatever_the_size_of_packets(
    mtu: str, engine: Any, outside: Any, servers: Any
) -> None:
    """The wire has 1500: larger packets are refused and sent again in parts."""
    container = engine.container(engine.network("sized", options={_MTU: mtu}))
    whole = os.urandom(1 << 20)
    listener = outside.run(lambda: socket.create_server(("", 81)))
    came: list[bytes] = []

    def receive() -> None:
        connection, _ = listener.accept()
        with connection:
            came.append(b"".join(iter(lambda: connection.recv(1 << 16), b"")))

    thread = threading.Thread(target=receive)
    thread.start()

    def send() -> None:
        with socket.create_connection((outside.address, 81), _LONG) as one:
            one.sendall(whole)

    container.run(send)
    thread.join(_LONG)
    listener.close()
    assert came == [whole]


def test_both_addresses_and_the_hardware_address_as_asked(engine: Any, servers: Any) -> None:
    subnets = (Subnet(subnet="10.77.0.0/24"), Subnet(subnet="fd00:77::/64"))
    fixed = engine.network("fixed", subnets=subnets)
    asked = {"ipv4": "10.77.0.9", "ipv6": "fd00:77::9", "mac": "02:00:00:00:00:09"}
    container = engine.container(fixed, **asked)
    assert (container.endpoint.ipv4, container.endpoint.ipv6) == ("10.77.0.9", "fd00:77::9")
    assert container.endpoint.mac == "02:00:00:00:00:09"
    servers.start(container, 80)
    other = engine.container(fixed)
    assert other.reaches("10.77.0.9", 80)
    assert other.reaches("fd00:77::9", 80)
    with pytest.raises(PermissionDenied, match="Address already in use: fd00:77::9"):
        engine.container(fixed, ipv6="fd00:77::9")
    with pytest.raises(InvalidArgument, match="does not belong to the network's subnet"):
        engine.container(fixed, ipv6="fd00:78::9")
    with pytest.raises(InvalidArgument, match="not a unicast hardware address"):
        engine.container(fixed, mac="01:00:00:00:00:09")


def test_a_network_of_ipv6_alone(engine: Any, outside: Any, servers: Any) -> None:
    six = engine.network("six", ipv4=False, subnets=(Subnet(subnet="fd00:6::/64"),), ipv6=True)
    one, two = engine.container(six), engine.container(six)
    servers.start(one, 80)
    servers.start(outside, 81)
    assert two.call(one.endpoint.ipv6, 80) == two.endpoint.ipv6
    assert two.call(outside.address6, 81) == outside.host6
    assert not two.is_kept_from(outside.address6, 81)
    with pytest.raises(OSError, match="unreachable"):
        two.call(outside.address, 81)
    routes = _in(two, lambda route: route.routes())
    assert {route.version for route in routes if route.destination is None} == {6}


def test_an_internal_network_of_both_families(engine: Any, outside: Any, servers: Any) -> None:
    inner = engine.network("inner", ipv6=True, internal=True)
    one, two = engine.container(inner), engine.container(inner)
    servers.start(one, 80)
    assert two.reaches(one.endpoint.ipv4, 80)
    assert two.reaches(one.endpoint.ipv6, 80)
    assert (one.endpoint.gateway, one.endpoint.ipv6_gateway) == ("", "")
    outside.route_to("fd00::/8")
    assert outside.is_kept_from(one.endpoint.ipv6, 80)
    assert engine.publish(one, PortRequest(container_port=80)) == []


@pytest.mark.parametrize(("address", "reached"), [("198.51.100.1", True), ("127.0.0.1", False)])
def test_a_network_says_where_its_ports_are_published(
    address: str, reached: bool, engine: Any, host: Any, outside: Any, servers: Any
) -> None:
    local = engine.network("local", options={_BRIDGE + "host_binding_ipv4": address})
    container = engine.container(local)
    servers.start(container, 80)
    (port,) = engine.publish(container, PortRequest(container_port=80))
    assert host.reaches(address, port)
    assert outside.reaches(outside.host, port) is reached


def test_every_pair_of_networks(engine: Any, outside: Any, servers: Any) -> None:
    """Who reaches whom: inside a network all, between networks nobody, out all but internal ones,
    from outside nobody but through a port."""
    kinds: dict[str, dict[str, object]] = {
        "plain": {},
        "dual": {"ipv6": True},
        "inner": {"internal": True},
        "silent": {"options": {_BRIDGE + "enable_icc": "false"}},
    }
    pairs = {
        name: [engine.container(engine.network(name, **request)), engine.container(name)]
        for name, request in kinds.items()
    }
    servers.start(outside, 80)
    for containers in pairs.values():
        servers.start(containers[0], 80)
    calls: list[tuple[str, Any, str, bool]] = []  # what, who, whom, and whether that is answered
    for name, (server, caller) in pairs.items():
        for other, (target, _) in pairs.items():
            expected = name == other and name != "silent"
            calls.append((f"{name} to {other}", caller, target.endpoint.ipv4, expected))
        calls.append((f"{name} out", caller, outside.address, name != "inner"))
        outside.route_to(f"{server.endpoint.ipv4}/32")
        calls.append((f"in to {name}", outside, server.endpoint.ipv4, False))
    # At once: what must not arrive is waited for.
    with ThreadPoolExecutor(len(calls)) as pool:
        found = list(pool.map(_ends_as_expected, calls))
    assert not [call[0] for call, fine in zip(calls, found, strict=True) if not fine]


def _ends_as_expected(call: tuple[str, Any, str, bool]) -> bool:
    _, caller, address, answered = call
    return bool(caller.reaches(address, 80) if answered else caller.is_kept_from(address, 80))
