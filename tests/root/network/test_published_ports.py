"""Taking ports of the host: clashes, ranges, and what is left after a failure."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from wherry.errors import Conflict, InvalidArgument, NotSupported
from wherry.network import sysctl
from wherry.network.api import PortRequest, Subnet
from wherry.network.ports import PortTaken

pytestmark = pytest.mark.root

WEB = PortRequest(container_port=80, host_port_first=8080)


def test_a_clash_names_the_holder(engine: Any) -> None:
    engine.publish(engine.container(name="first"), WEB)
    second = engine.container(name="second")
    with pytest.raises(Conflict) as caught:
        engine.publish(second, WEB)
    assert str(caught.value) == (
        f"driver failed programming external connectivity on endpoint second "
        f"({second.endpoint.id}): Bind for 0.0.0.0:8080 failed: port is already allocated "
        "(by container first)"
    )


def test_a_clash_with_another_address_of_the_port(engine: Any) -> None:
    engine.publish(
        engine.container(name="first"),
        PortRequest(container_port=80, host_port_first=8080, host_ip="127.0.0.1"),
    )
    with pytest.raises(PortTaken, match=r"0\.0\.0\.0:8080 failed.*by container first"):
        engine.publish(engine.container(), WEB)


def test_a_clash_with_another_program(engine: Any) -> None:
    container = engine.container()
    with (
        socket.create_server(("127.0.0.1", 8080)),
        pytest.raises(PortTaken, match=r"port is already allocated$"),
    ):
        engine.publish(container, WEB)
    assert engine.publish(container, WEB) == [8080]


def test_other_programs_do_not_get_a_published_port(engine: Any) -> None:
    engine.publish(engine.container(), WEB)
    with pytest.raises(OSError, match="in use"):  # it sets SO_REUSEADDR, as servers do
        socket.create_server(("127.0.0.1", 8080))


def test_a_server_that_has_just_ended_is_no_clash(host: Any, engine: Any) -> None:
    """Its last connection keeps the port in the state TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 8080)) as server:
        client = socket.create_connection(("127.0.0.1", 8080))
        server.accept()[0].close()
        assert client.recv(1) == b""
        client.close()
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", 8080))
    assert engine.publish(engine.container(), WEB) == [8080]
    with pytest.raises(PortTaken):
        engine.publish(engine.container(), WEB)


def test_a_range_gives_the_first_that_is_free(engine: Any) -> None:
    request = PortRequest(container_port=80, host_port_first=9000, host_port_last=9002)
    containers = [engine.container() for _ in range(4)]
    assert [engine.publish(one, request)[0] for one in containers[:3]] == [9000, 9001, 9002]
    with pytest.raises(PortTaken):
        engine.publish(containers[3], request)


def test_all_ports_or_none(engine: Any, host: Any, servers: Any) -> None:
    container = engine.container()
    servers.start(container, 81)
    free = PortRequest(container_port=81, host_port_first=8081)
    with socket.create_server(("", 8080)), pytest.raises(PortTaken):
        engine.publish(container, free, WEB)
    for address, family in (("", socket.AF_INET), ("::", socket.AF_INET6)):
        socket.create_server((address, 8081), family=family).close()  # nothing holds it
    assert host.is_kept_from("127.0.0.1", 8081)
    assert engine.publish(container, free, WEB) == [8081, 8080]
    assert host.reaches("127.0.0.1", 8081)


def test_unpublishing_frees_the_port_and_is_idempotent(
    engine: Any, host: Any, servers: Any
) -> None:
    container, other = engine.container(), engine.container()
    servers.start(container, 80)
    engine.publish(container, WEB)
    assert host.reaches("127.0.0.1", 8080)
    for _ in range(2):
        engine.networks.unpublish(container.endpoint)
    engine.release_sockets()
    assert host.is_kept_from("127.0.0.1", 8080)
    assert engine.publish(other, WEB) == [8080]


def test_random_ports_are_different_and_of_the_ephemeral_range(engine: Any) -> None:
    container = engine.container()
    ports = engine.publish(container, *[PortRequest(container_port=n) for n in range(1, 200)])
    low, high = map(int, sysctl.read("ipv4/ip_local_port_range").split())
    assert len(set(ports)) == 199
    assert low <= min(ports) <= max(ports) <= high


def test_an_address_that_the_host_lacks(engine: Any) -> None:
    request = PortRequest(container_port=80, host_port_first=8080, host_ip="203.0.113.9")
    with pytest.raises(InvalidArgument, match=r"203\.0\.113\.9:8080.*cannot assign requested"):
        engine.publish(engine.container(), request)


def test_an_ipv6_address_for_sctp_of_a_container_without_ipv6(engine: Any) -> None:
    request = PortRequest(container_port=80, host_port_first=8080, host_ip="::1", protocol="sctp")
    with pytest.raises(NotSupported, match="no IPv6 address in network bridge"):
        engine.publish(engine.container(), request)


def test_a_protocol_that_the_kernel_lacks(engine: Any) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
    except OSError:
        request = PortRequest(container_port=80, protocol="sctp", host_port_first=8080)
        with pytest.raises(NotSupported, match="8080/sctp"):
            engine.publish(engine.container(), request)
    else:
        pytest.skip("this kernel has SCTP")


def test_the_networks_own_address_for_ports(engine: Any, outside: Any) -> None:
    engine.network("bound", options={"com.docker.network.bridge.host_binding_ipv4": outside.host})
    container = engine.container("bound")
    publication = engine.networks.publish(container.endpoint, [WEB])
    engine.sockets += publication.sockets
    assert [port.host_ip for port in publication.ports] == [outside.host]


def test_both_families_have_the_same_port(engine: Any) -> None:
    engine.network("dual", subnets=(Subnet(subnet="fd00:77::/64"),))
    publication = engine.networks.publish(
        engine.container("dual").endpoint, [PortRequest(container_port=80)]
    )
    engine.sockets += publication.sockets
    assert [port.host_ip for port in publication.ports] == ["0.0.0.0", "::"]
    assert len({port.host_port for port in publication.ports}) == 1
