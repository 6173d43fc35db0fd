"""macvlan and ipvlan: containers on the wire of another host, without the engine's own between.

The wire is that of the fixture ``outside``: a bridge of the engine's host, one of whose ports is
made the parent. What a kernel does not have is skipped, and says so.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from wherry.errors import Conflict, InvalidArgument, NotSupported
from wherry.network.api import PortRequest, Subnet
from wherry.network.sandbox import run_inside
from wherry.sys.netlink.route import RouteConnection, Veth

pytestmark = pytest.mark.root

LAN = Subnet(subnet="198.51.100.0/24", gateway="198.51.100.1", ip_range="198.51.100.128/25")
LAN6 = Subnet(subnet="2001:db8:1::/64", gateway="2001:db8:1::1", ip_range="2001:db8:1::8000/113")
OTHER = Subnet(subnet="203.0.113.0/24")


@pytest.fixture
def route(host: Any) -> Iterator[RouteConnection]:
    connection = RouteConnection()
    yield connection
    connection.close()


@pytest.fixture
def parent(outside: Any, host: Any, route: RouteConnection) -> str:
    """An interface of the host, ``nic0``, on the same wire as the other host."""
    bridge = route.link("wire0")
    cable = Veth(
        "nic1", bridge.index, 1500, "02:00:00:00:00:11", "nic0", host.netns_fd, "02:00:00:00:00:10"
    )
    route.create_veth(cable)
    route.take_up("nic0")
    return "nic0"


def _need(route: RouteConnection, kind: str) -> None:
    if not route.knows_kind(kind):
        pytest.skip(f"this kernel has no {kind}")


def _can_make(*arguments: str) -> bool:
    """Whether the kernel makes a link; it is removed at once."""
    made = subprocess.run(["ip", "link", "add", *arguments], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", "probe0"], capture_output=True, check=False)
    return made.returncode == 0


@pytest.fixture
def macvlan(route: RouteConnection) -> None:
    _need(route, "macvlan")


@pytest.fixture
def ipvlan(route: RouteConnection) -> None:
    _need(route, "ipvlan")


@pytest.mark.usefixtures("macvlan")
def test_a_container_on_the_wire(parent: str, engine: Any, outside: Any, servers: Any) -> None:
    lan = engine.network(
        "lan", driver="macvlan", subnets=(LAN, LAN6), ipv6=True, options={"parent": parent}
    )
    one, two = engine.container(lan), engine.container(lan, ipv4="198.51.100.200")
    servers.start(one, 80)
    servers.start(outside, 81)
    assert outside.call(one.endpoint.ipv4, 80) == f"::ffff:{outside.address}"
    assert outside.call(one.endpoint.ipv6, 80) == outside.address6
    assert two.call(one.endpoint.ipv4, 80) == "::ffff:198.51.100.200"
    assert two.call(outside.address, 81) == "::ffff:198.51.100.200"
    assert one.endpoint.gateway == "198.51.100.1"
    assert ipaddress.ip_address(one.endpoint.ipv4) in ipaddress.ip_network(LAN.ip_range)
    assert not one.endpoint.host_interface


@pytest.mark.usefixtures("macvlan")
@pytest.mark.parametrize(("mode", "meet"), [("bridge", True), ("private", False), ("vepa", False)])
def test_modes(mode: str, meet: bool, parent: str, engine: Any, outside: Any, servers: Any) -> None:
    """The wire's bridge does not send a frame back where it came from, as vepa would need it."""
    options = {"parent": parent, "macvlan_mode": mode}
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,), options=options)
    one, two = engine.container(lan), engine.container(lan)
    servers.start(one, 80)
    assert outside.reaches(one.endpoint.ipv4, 80)
    target = one.endpoint.ipv4
    assert two.reaches(target, 80) if meet else two.is_kept_from(target, 80)


@pytest.mark.usefixtures("macvlan")
def test_a_parent_is_passed_through_to_one_container_at_a_time(
    parent: str, engine: Any, outside: Any, servers: Any
) -> None:
    options = {"parent": parent, "macvlan_mode": "passthru"}
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,), options=options)
    one = engine.container(lan)
    servers.start(one, 80)
    assert outside.reaches(one.endpoint.ipv4, 80)
    with pytest.raises(Conflict, match="nic0 of network lan is passed through to another"):
        engine.container(lan)
    engine.networks.disconnect(one.endpoint, one.sandbox)
    engine.networks.drain()
    engine.container(lan)
    with pytest.raises(Conflict, match="network lan is already using parent interface nic0"):
        engine.network("more", driver="macvlan", subnets=(OTHER,), options={"parent": parent})


@pytest.mark.usefixtures("macvlan")
def test_several_networks_over_one_parent(parent: str, engine: Any, servers: Any) -> None:
    first = engine.network("a", driver="macvlan", subnets=(LAN,), options={"parent": parent})
    second = engine.network("b", driver="macvlan", subnets=(OTHER,), options={"parent": parent})
    one, other = engine.container(first), engine.container(second)
    servers.start(one, 80)
    assert one.endpoint.ipv4.startswith("198.51.100.")
    assert other.endpoint.ipv4.startswith("203.0.113.")
    assert engine.container(first).reaches(one.endpoint.ipv4, 80)


@pytest.mark.usefixtures("macvlan")
def test_coming_and_going_while_a_container_runs(parent: str, engine: Any, servers: Any) -> None:
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,), options={"parent": parent})
    container = engine.container()
    again = engine.join(container, lan)
    assert again.interface == "eth1"
    engine.networks.choose_gateway(container.sandbox, [again, container.endpoint])
    inside = run_inside(container.netns_fd, RouteConnection)
    try:
        assert inside.find_link("eth1") is not None
        engine.networks.disconnect(again, container.sandbox)
        assert inside.find_link("eth1") is None
        engine.networks.choose_gateway(container.sandbox, [container.endpoint])
        assert [one.version for one in inside.routes() if one.destination is None] == [4]
    finally:
        inside.close()
    assert engine.networks.endpoints(lan) == ()
    engine.networks.remove(lan)


@pytest.mark.usefixtures("macvlan")
def test_ports_need_not_be_published(parent: str, engine: Any) -> None:
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,), options={"parent": parent})
    web = PortRequest(container_port=80, host_port_first=8080)
    assert engine.publish(engine.container(lan), web) == []


@pytest.mark.usefixtures("macvlan")
def test_networks_and_endpoints_outlive_the_engine(
    parent: str, engine: Any, outside: Any, servers: Any
) -> None:
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,), options={"parent": parent})
    container = engine.container(lan)
    servers.start(container, 80)
    engine.restart()
    engine.networks.reconcile([container.endpoint])
    assert outside.reaches(container.endpoint.ipv4, 80)
    assert [one.id for one in engine.networks.endpoints(lan)] == [container.endpoint.id]
    assert engine.container(lan).endpoint.ipv4 != container.endpoint.ipv4


@pytest.mark.usefixtures("macvlan")
@pytest.mark.parametrize("name", ["nic7", "nic7.10", "nic0.5000"])
def test_a_parent_that_is_not_there(name: str, parent: str, engine: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"invalid parent interface {name}: this host has"):
        engine.network("lan", driver="macvlan", options={"parent": name})
    assert "lan" not in [network.name for network in engine.networks.list()]


@pytest.mark.usefixtures("macvlan")
def test_the_loopback_is_no_parent(engine: Any) -> None:
    with pytest.raises(InvalidArgument, match="loopback interface is not a valid macvlan parent"):
        engine.network("lan", driver="macvlan", options={"parent": "lo"})


@pytest.mark.usefixtures("macvlan")
def test_a_parent_that_went_away_is_named(parent: str, engine: Any, route: RouteConnection) -> None:
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,), options={"parent": parent})
    route.delete_link(parent)
    engine.restart()
    with pytest.raises(InvalidArgument, match="network lan has no parent interface nic0"):
        engine.container(lan)
    assert engine.networks.endpoints(lan) == ()


@pytest.mark.usefixtures("macvlan")
def test_a_vlan_of_the_parent_is_made_and_removed(
    parent: str, engine: Any, route: RouteConnection
) -> None:
    if not _can_make("link", parent, "name", "probe0", "type", "vlan", "id", "10"):
        with pytest.raises(NotSupported, match=r"nic0\.10 of network lan: this kernel has no such"):
            engine.network("lan", driver="macvlan", options={"parent": "nic0.10"})
        pytest.skip("this kernel has no VLANs; their refusal was tested")
    lan = engine.network("lan", driver="macvlan", options={"parent": "nic0.10"})
    assert route.link("nic0.10").kind == "vlan"
    engine.container(lan)
    route.delete_link("nic0.10")
    engine.restart()
    assert route.link("nic0.10").kind == "vlan"
    for endpoint in engine.networks.endpoints(lan):
        engine.networks.disconnect(endpoint)
    engine.networks.remove(lan)
    assert route.find_link("nic0.10") is None
    assert route.find_link("nic0") is not None


@pytest.mark.usefixtures("macvlan")
def test_without_a_parent_nothing_leaves_the_host(
    host: Any, engine: Any, servers: Any, route: RouteConnection
) -> None:
    if not _can_make("name", "probe0", "type", "dummy"):
        with pytest.raises(NotSupported, match="this kernel has no such links"):
            engine.network("lan", driver="macvlan", subnets=(LAN,))
        pytest.skip("this kernel has no dummy links; their refusal was tested")
    lan = engine.network("lan", driver="macvlan", subnets=(LAN,))
    network = engine.networks.get(lan)
    assert network.internal
    assert route.link(network.interface).kind == "dummy"
    one, two = engine.container(lan), engine.container(lan)
    servers.start(one, 80)
    assert two.reaches(one.endpoint.ipv4, 80)
    assert not one.endpoint.gateway
    for container in (one, two):
        engine.networks.disconnect(container.endpoint, container.sandbox)
    engine.networks.remove(lan)
    assert route.find_link(network.interface) is None


def test_a_kernel_without_such_links_is_named(
    parent: str, engine: Any, route: RouteConnection
) -> None:
    missing = [kind for kind in ("macvlan", "ipvlan") if not route.knows_kind(kind)]
    if not missing:
        pytest.skip("this kernel has both")
    for kind in missing:
        with pytest.raises(NotSupported, match=f"network driver '{kind}' is not supported by this"):
            engine.network("lan", driver=kind, options={"parent": parent})


@pytest.mark.usefixtures("ipvlan")
def test_ipvlan_shares_the_hardware_address(
    parent: str, engine: Any, outside: Any, servers: Any
) -> None:
    lan = engine.network("lan", driver="ipvlan", subnets=(LAN,), options={"parent": parent})
    one, two = engine.container(lan), engine.container(lan)
    servers.start(one, 80)
    assert outside.reaches(one.endpoint.ipv4, 80)
    assert two.reaches(one.endpoint.ipv4, 80)
    with pytest.raises(InvalidArgument, match="do not support custom mac address"):
        engine.container(lan, mac="02:00:00:00:00:77")
    with pytest.raises(Conflict, match="network lan is already using parent interface nic0"):
        engine.network("more", driver="macvlan", subnets=(OTHER,), options={"parent": parent})


@pytest.mark.usefixtures("ipvlan")
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_ipvlan_by_routing(mode: str, parent: str, engine: Any, outside: Any, servers: Any) -> None:
    """The other host needs a route: nobody asks for a neighbour's hardware address."""
    options = {"parent": parent, "ipvlan_mode": mode}
    first = engine.network("a", driver="ipvlan", subnets=(OTHER,), options=options)
    second = engine.network(
        "b", driver="ipvlan", subnets=(Subnet(subnet="203.0.114.0/24"),), options=options
    )
    one, two = engine.container(first), engine.container(second)
    servers.start(one, 80)
    assert two.reaches(one.endpoint.ipv4, 80)
    assert (one.endpoint.on_link, one.endpoint.gateway) == (True, "")
