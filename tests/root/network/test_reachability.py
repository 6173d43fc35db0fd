"""Who reaches whom: real connections between namespaces, through the engine's rules."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from typing import Any

import msgspec
import pytest
from tests.patience import patience

from wherry.network import sysctl
from wherry.network.api import EndpointRequest, PortRequest, Subnet
from wherry.sys.netlink.route import RouteConnection

pytestmark = pytest.mark.root

ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


@pytest.fixture(params=["filtered", "unfiltered"])
def bridged_frames(request: pytest.FixtureRequest, host: Any) -> None:
    """Whether br_netfilter sends frames between ports of a bridge through the packet filter."""
    sysctl.write("bridge/bridge-nf-call-iptables", "1" if request.param == "filtered" else "0")
    sysctl.write("bridge/bridge-nf-call-ip6tables", "1" if request.param == "filtered" else "0")


def test_containers_of_a_network_see_each_other_as_they_are(
    engine: Any, servers: Any, bridged_frames: None
) -> None:
    first, second = engine.container(), engine.container()
    servers.start(second, 80)
    assert first.call(second.endpoint.ipv4, 80) == f"::ffff:{first.endpoint.ipv4}"


def test_the_world_sees_the_hosts_address(
    outside: Any, engine: Any, servers: Any, bridged_frames: None
) -> None:
    servers.start(outside, 80)
    assert engine.container().call(outside.address, 80) == f"::ffff:{outside.host}"


def test_a_network_without_masquerade_shows_its_addresses(
    outside: Any, engine: Any, servers: Any
) -> None:
    engine.network("plain", options={MASQUERADE: "false"})
    container = engine.container("plain")
    outside.route_to(engine.networks.get("plain").subnets[0].subnet)
    servers.start(outside, 80)
    assert container.call(outside.address, 80) == f"::ffff:{container.endpoint.ipv4}"


def test_a_published_port_is_reached_from_everywhere(
    outside: Any, host: Any, engine: Any, servers: Any, bridged_frames: None
) -> None:
    container, sibling = engine.container(), engine.container()
    servers.start(container, 5000)
    (port,) = engine.publish(container, PortRequest(container_port=5000))
    gateway = container.endpoint.gateway
    assert outside.call(outside.host, port) == f"::ffff:{outside.address}"
    assert host.call("127.0.0.1", port) == f"::ffff:{gateway}"
    assert host.call(outside.host, port) == f"::ffff:{outside.host}"
    assert sibling.call(outside.host, port) == f"::ffff:{gateway}"
    assert sibling.call(gateway, port) == f"::ffff:{gateway}"
    assert container.call(outside.host, port) == f"::ffff:{gateway}"


def test_a_published_udp_port(outside: Any, host: Any, engine: Any, servers: Any) -> None:
    container = engine.container()
    servers.start(container, 53, socket.SOCK_DGRAM)
    (port,) = engine.publish(container, PortRequest(container_port=53, protocol="udp"))
    assert outside.call_udp(outside.host, port) == f"::ffff:{outside.address}"
    assert host.call_udp("127.0.0.1", port) == f"::ffff:{container.endpoint.gateway}"


def test_udp_clients_follow_a_port_to_its_next_container(
    outside: Any, engine: Any, servers: Any
) -> None:
    """One client socket: the kernel remembers where its first datagram went."""
    first, second = engine.container(), engine.container()
    for container in (first, second):
        servers.start(container, 53, socket.SOCK_DGRAM)
    request = PortRequest(container_port=53, protocol="udp", host_port_first=5353)
    client = outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with client:
        client.settimeout(patience(5))
        client.connect((outside.host, 5353))
        for container in (first, second):
            engine.publish(container, request)
            client.send(b"?")
            assert client.recv(100).decode() == f"::ffff:{outside.address}"
            engine.networks.unpublish(container.endpoint)
            engine.release_sockets()
            engine.networks.disconnect(container.endpoint)
            engine.networks.drain()


def test_a_port_of_one_address_is_not_on_the_others(
    outside: Any, host: Any, engine: Any, servers: Any
) -> None:
    local, remote = engine.container(), engine.container()
    for container in (local, remote):
        servers.start(container, 80)
    engine.publish(local, PortRequest(container_port=80, host_ip="127.0.0.1", host_port_first=8080))
    assert host.call("127.0.0.1", 8080) == f"::ffff:{local.endpoint.gateway}"
    assert outside.is_kept_from(outside.host, 8080)
    assert outside.is_kept_from(local.endpoint.ipv4, 80)
    engine.publish(
        remote, PortRequest(container_port=80, host_ip=outside.host, host_port_first=8080)
    )
    assert outside.reaches(outside.host, 8080)


def test_an_unpublished_port_is_the_networks_own(outside: Any, engine: Any, servers: Any) -> None:
    """Also for a neighbour that sends packets for the container's address to the host."""
    container = engine.container()
    outside.route_to("172.16.0.0/12")
    for port in (80, 81):
        servers.start(container, port)
    engine.publish(container, PortRequest(container_port=80, host_port_first=8080))
    assert outside.reaches(outside.host, 8080)
    assert outside.is_kept_from(outside.host, 81)
    assert outside.is_kept_from(container.endpoint.ipv4, 81)
    assert outside.is_kept_from(container.endpoint.ipv4, 80)


def test_the_host_reaches_every_port(host: Any, engine: Any, servers: Any) -> None:
    container = engine.container()
    servers.start(container, 81)
    assert host.reaches(container.endpoint.ipv4, 81)


def test_networks_are_apart_but_for_published_ports(
    outside: Any, engine: Any, servers: Any, bridged_frames: None
) -> None:
    engine.network("other")
    server, client = engine.container(), engine.container("other")
    servers.start(server, 80)
    assert client.is_kept_from(server.endpoint.ipv4, 80)
    (port,) = engine.publish(server, PortRequest(container_port=80))
    assert client.reaches(outside.host, port)
    assert client.is_kept_from(server.endpoint.ipv4, 80)


def test_two_engines_are_apart(engines: Any, servers: Any) -> None:
    one, other = engines("one"), engines("other")
    server, client = one.container(), other.container()
    servers.start(server, 80)
    assert client.is_kept_from(server.endpoint.ipv4, 80)
    assert one.container().reaches(server.endpoint.ipv4, 80)


def test_an_internal_network_has_no_way_out(outside: Any, engine: Any, servers: Any) -> None:
    engine.network("inner", internal=True)
    server, client, stranger = (
        engine.container("inner"),
        engine.container("inner"),
        engine.container(),
    )
    servers.start(server, 80)
    servers.start(outside, 80)
    servers.start(stranger, 80)
    (port,) = engine.publish(stranger, PortRequest(container_port=80))
    assert client.reaches(server.endpoint.ipv4, 80)
    assert client.endpoint.gateway == ""
    gateway = engine.networks.get("inner").subnets[0].gateway
    client.run(lambda: _add_default_route(gateway))  # what a privileged container could do
    assert client.is_kept_from(outside.address, 80)
    assert client.is_kept_from(outside.host, port)
    assert stranger.is_kept_from(server.endpoint.ipv4, 80)
    assert engine.publish(server, PortRequest(container_port=80)) == []


def _add_default_route(gateway: str) -> None:
    route = RouteConnection()
    try:
        route.configure(route.link("eth0").index, (), [ipaddress.ip_address(gateway)])
    finally:
        route.close()


def test_containers_without_icc_meet_at_published_ports_only(
    outside: Any, engine: Any, servers: Any
) -> None:
    sysctl.write("bridge/bridge-nf-call-iptables", "0")
    engine.network("quiet", options={ICC: "false"})
    server, client = engine.container("quiet"), engine.container("quiet")
    servers.start(server, 80)
    servers.start(outside, 80)
    (port,) = engine.publish(server, PortRequest(container_port=80))
    assert client.is_kept_from(server.endpoint.ipv4, 80)
    assert client.reaches(outside.host, port)
    assert client.reaches(outside.address, 80)


def test_containers_without_icc_are_apart_when_frames_are_filtered(
    engine: Any, servers: Any, bridged_frames: None
) -> None:
    engine.network("quiet", options={ICC: "false"})
    server, client = engine.container("quiet"), engine.container("quiet")
    servers.start(server, 80)
    assert client.is_kept_from(server.endpoint.ipv4, 80)


def _receiver(place: Any, address: str, port: int) -> socket.socket:
    def bind() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((address, port))
        return one

    return place.run(bind)


def _next_source(receiver: socket.socket, patience: float) -> str:
    """Who sent the next datagram; empty if none comes."""
    receiver.settimeout(patience)
    try:
        return receiver.recvfrom(100)[1][0]
    except TimeoutError:
        return ""


def _mac(interface: str) -> str:
    """The hardware address of an interface of the engine's host."""
    line = _output(f"ip -o link show dev {interface}")
    return line.split("link/ether ")[1].split()[0]


def test_a_container_does_not_reach_the_hosts_loopback(host: Any, engine: Any) -> None:
    """CVE-2020-8558: the bridge routes 127.0.0.0/8, for the sake of published ports."""
    container = engine.container()
    own, gateway = container.endpoint.ipv4, container.endpoint.gateway
    mac = _mac(engine.networks.get("bridge").interface)
    with _receiver(host, "0.0.0.0", 6000) as receiver:
        for source, target in ((own, "127.0.0.1"), ("127.0.0.1", gateway)):
            container.send_datagram("eth0", mac, source, target, 6000)
            assert _next_source(receiver, 0.3) == ""
        container.send_datagram("eth0", mac, own, gateway, 6000)
        assert _next_source(receiver, 5) == own


def test_a_neighbour_does_not_reach_ports_of_the_loopback(
    outside: Any, host: Any, engine: Any
) -> None:
    container = engine.container()
    request = PortRequest(container_port=53, protocol="udp", host_port_first=5300)
    engine.publish(container, msgspec.structs.replace(request, host_ip="127.0.0.1"))
    mac = _mac("wire0")
    with _receiver(container, "0.0.0.0", 53) as receiver:
        outside.send_datagram("wire", mac, outside.address, "127.0.0.1", 5300)
        assert _next_source(receiver, 0.3) == ""
        engine.publish(container, msgspec.structs.replace(request, host_ip=outside.host))
        outside.send_datagram("wire", mac, outside.address, outside.host, 5300)
        assert _next_source(receiver, 5) == outside.address


def test_the_first_packet_is_not_lost(engine: Any, servers: Any) -> None:
    """A connection made at once is there at once, not after the second that a retry takes."""
    for _ in range(25):
        container = engine.container()
        listener = container.run(lambda: socket.create_server(("0.0.0.0", 80)))
        with listener, socket.create_connection((container.endpoint.ipv4, 80), timeout=0.9):
            engine.networks.disconnect(container.endpoint)


def test_both_address_families(
    outside: Any, engine: Any, servers: Any, bridged_frames: None
) -> None:
    engine.network("dual", subnets=(Subnet(subnet="fd00:77::/64"),))
    first, second = engine.container("dual"), engine.container("dual")
    servers.start(outside, 80)
    servers.start(first, 80)
    assert second.call(first.endpoint.ipv6, 80) == second.endpoint.ipv6
    assert first.call(outside.address6, 80) == outside.host6
    assert first.call(outside.address, 80) == f"::ffff:{outside.host}"
    (port,) = engine.publish(first, PortRequest(container_port=80))
    assert outside.call(outside.host6, port) == outside.address6
    assert outside.call(outside.host, port) == f"::ffff:{outside.address}"
    assert second.call(outside.host6, port) == first.endpoint.ipv6_gateway
    outside.route_to("fd00:77::/64")
    assert outside.is_kept_from(first.endpoint.ipv6, 80)


def test_two_networks_of_one_container(engine: Any, servers: Any) -> None:
    engine.network("second")
    container, peer = engine.container(), engine.container("second")
    request = EndpointRequest(container_id="c" * 64)
    endpoint = engine.networks.connect("second", container.sandbox, request)
    servers.start(peer, 80)
    assert (container.endpoint.interface, endpoint.interface) == ("eth0", "eth1")
    assert container.call(peer.endpoint.ipv4, 80) == f"::ffff:{endpoint.ipv4}"


def _output(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout
