"""Networks, leases and ports in the database, without a kernel."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from wherry.network.allocation import AddressTaken, Allocator, NetworkFull
from wherry.network.api import Endpoint, EndpointRequest, Network, NetworkRequest, Subnet
from wherry.network.catalog import Catalog
from wherry.network.config import AddressPool, NetworkDefaults
from wherry.network.naming import HostNames
from wherry.network.records import PortMapping, Records
from wherry.network.subnets import parse_prefix
from wherry.store.database import Database

NAMES = HostNames("t1")


@pytest.fixture
def db(tmp_path: Path) -> Any:
    database = Database(str(tmp_path / "db"))
    yield database
    database.close()


@pytest.fixture
def records(db: Database) -> Records:
    return Records(db)


def _catalog(records: Records, **defaults: Any) -> Catalog:
    catalog = Catalog(
        records, NAMES, NetworkDefaults(**defaults), lambda: [parse_prefix("172.17.0.0/16")]
    )
    catalog.ensure_predefined()
    return catalog


@pytest.fixture
def catalog(records: Records) -> Catalog:
    return _catalog(records)


def _lease(records: Records, network: Network, **request: str) -> Endpoint:
    return Allocator(records, NAMES).lease(
        network, EndpointRequest(container_id="c" * 64, **request), "eth0"
    )


def test_the_predefined_networks(catalog: Catalog) -> None:
    assert [network.name for network in catalog.all()] == ["bridge", "host", "none"]
    assert [network.driver for network in catalog.all()] == ["bridge", "host", "null"]
    assert catalog.find("bridge").subnets[0].subnet == "172.18.0.0/16"
    assert [network.interface for network in catalog.bridges()] == ["wht10"]


def test_networks_are_found_by_name_id_and_prefix(catalog: Catalog) -> None:
    network = catalog.define(NetworkRequest(name="app"))
    for text in ("app", network.id, network.id[:10]):
        assert catalog.find(text) == network
    for text in ("ap", "", "zzz"):
        with pytest.raises(NotFound, match=f"network {text} not found"):
            catalog.find(text)


def test_an_ambiguous_prefix(catalog: Catalog) -> None:
    networks = [
        catalog.define(NetworkRequest(name=f"n{n}", subnets=(Subnet(subnet=f"10.0.{n}.0/24"),)))
        for n in range(17)
    ]
    first = [network.id[0] for network in networks]
    twice = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(InvalidArgument, match="is ambiguous"):
        catalog.find(twice)


def test_a_name_whose_text_is_the_prefix_of_an_id(catalog: Catalog) -> None:
    first = catalog.define(NetworkRequest(name="app"))
    second = catalog.define(NetworkRequest(name=first.id[:8]))
    assert catalog.find(first.id[:8]) == second


def test_a_name_is_given_once(catalog: Catalog) -> None:
    catalog.define(NetworkRequest(name="app"))
    with pytest.raises(Conflict, match="network with name app already exists"):
        catalog.define(NetworkRequest(name="app"))


def test_networks_are_kept(records: Records, catalog: Catalog) -> None:
    network = catalog.define(
        NetworkRequest(name="app", labels={"a": "b"}, internal=True, attachable=True, ipv6=True)
    )
    assert network.ipv6
    assert len(network.subnets) == 2
    assert _catalog(records).all() == catalog.all()
    catalog.forget(network)
    assert _catalog(records).all() == catalog.all()


def test_a_network_with_endpoints_is_not_forgotten(records: Records, catalog: Catalog) -> None:
    network = catalog.define(NetworkRequest(name="app"))
    endpoint = _lease(records, network)
    with pytest.raises(PermissionDenied, match="has active endpoints"):
        catalog.forget(network)
    records.remove_endpoints([endpoint.id])
    catalog.forget(network)


def test_the_default_bridge_is_outdated_when_settings_change(records: Records) -> None:
    assert _catalog(records).outdated_default() is None
    changed = Catalog(records, NAMES, NetworkDefaults(icc=False), list)
    assert changed.outdated_default() == changed.find("bridge")
    changed = Catalog(records, NAMES, NetworkDefaults(bridge_address="10.9.0.1/24"), list)
    assert changed.outdated_default() == changed.find("bridge")


def test_two_thousand_endpoints_have_two_thousand_addresses(
    records: Records, catalog: Catalog
) -> None:
    network = catalog.find("bridge")
    allocator = Allocator(records, NAMES, ports_of_a_bridge=2000)
    request = EndpointRequest(container_id="c" * 64)
    endpoints = [allocator.lease(network, request, "eth0") for _ in range(2000)]
    addresses = [endpoint.ipv4 for endpoint in endpoints]
    assert len(set(addresses)) == 2000
    assert addresses[0] == "172.18.0.2"
    assert not {"172.18.0.0", "172.18.0.1", "172.18.255.255"} & set(addresses)
    assert len(records.endpoints(network.id)) == 2000


def test_another_allocator_gives_what_is_free(records: Records, catalog: Catalog) -> None:
    """As after a crash: what was given out last is forgotten, the leases are not."""
    network = catalog.find("bridge")
    first = _lease(records, network)
    second = _lease(records, network)
    assert (first.ipv4, second.ipv4) == ("172.18.0.2", "172.18.0.3")


def test_a_failed_lease_leaves_nothing(records: Records, catalog: Catalog) -> None:
    network = catalog.define(
        NetworkRequest(name="x", subnets=(Subnet(subnet="10.0.0.0/30"), Subnet(subnet="fd00::/64")))
    )
    _lease(records, network)
    with pytest.raises(ResourceExhausted, match="no available addresses"):
        _lease(records, network, ipv6="fd00::9")
    with pytest.raises(InvalidArgument, match="invalid MAC address"):
        _lease(records, catalog.find("bridge"), mac="zz")
    assert len(records.endpoints()) == 1
    assert not records.is_leased(network.id, "fd00::9")


def test_an_address_that_is_leaving_is_still_taken(records: Records, catalog: Catalog) -> None:
    network = catalog.define(NetworkRequest(name="x", subnets=(Subnet(subnet="10.0.0.0/24"),)))
    endpoint = _lease(records, network, ipv4="10.0.0.9")
    assert records.begin_leaving(endpoint.id)
    assert not records.begin_leaving(endpoint.id)
    assert records.endpoints(network.id) == []
    assert records.leaving() == [endpoint]
    with pytest.raises(AddressTaken) as caught:
        _lease(records, network, ipv4="10.0.0.9")
    assert caught.value.leaving
    records.remove_endpoints([endpoint.id])
    assert _lease(records, network, ipv4="10.0.0.9").ipv4 == "10.0.0.9"


def test_ports_go_with_their_endpoint(records: Records, catalog: Catalog) -> None:
    endpoint = _lease(records, catalog.find("bridge"))
    ports = [
        PortMapping("tcp", "0.0.0.0", 80, endpoint.ipv4, 8080),
        PortMapping("udp", "127.0.0.1", 53, endpoint.ipv4, 53),
    ]
    records.add_ports(endpoint.id, ports)
    assert records.ports() == records.ports_of(endpoint.id) == ports
    with pytest.raises(sqlite3.IntegrityError):
        records.add_ports(endpoint.id, [ports[1], ports[0]])
    assert records.port_holder("tcp", "10.0.0.1", 80) == endpoint
    assert records.port_holder("udp", "0.0.0.0", 53) == endpoint
    assert records.port_holder("udp", "10.0.0.1", 53) is None
    assert records.port_holder("tcp", "::", 80) is None
    records.remove_endpoints([endpoint.id])
    assert records.ports() == []


def test_a_restored_endpoint_wins(records: Records, catalog: Catalog) -> None:
    network = catalog.find("bridge")
    lost = _lease(records, network)
    records.remove_endpoints([lost.id])
    usurper = _lease(records, network)
    assert usurper.ipv4 == lost.ipv4
    records.restore_endpoint(lost)
    assert records.endpoints() == [lost]


def test_a_bridge_is_full_before_the_kernel_says_so(records: Records, catalog: Catalog) -> None:
    allocator = Allocator(records, NAMES, ports_of_a_bridge=3)
    network, other = catalog.find("bridge"), catalog.define(NetworkRequest(name="other"))

    def lease(where: Network) -> Endpoint:
        return allocator.lease(where, EndpointRequest(container_id="c" * 64), "eth0")

    first, _, _ = (lease(network) for _ in range(3))
    with pytest.raises(NetworkFull, match="bridge is full: the kernel joins 3 interfaces") as full:
        lease(network)
    assert not full.value.leaving
    lease(other)
    records.begin_leaving(first.id)
    with pytest.raises(NetworkFull) as full:
        lease(network)
    assert full.value.leaving
    records.remove_endpoints([first.id])
    lease(network)


def test_two_thousand_containers_on_several_networks(records: Records, catalog: Catalog) -> None:
    allocator = Allocator(records, NAMES)
    networks = [catalog.define(NetworkRequest(name=f"n{n}", ipv6=True)) for n in range(4)]
    made = [
        allocator.lease(network, EndpointRequest(container_id=f"{n:064x}"), "eth0")
        for n in range(500)
        for network in networks
    ]
    assert len({(one.network_id, one.ipv4) for one in made}) == 2000
    assert len({(one.network_id, one.ipv6) for one in made}) == 2000
    assert len({one.host_interface for one in made}) == 2000
    again = Allocator(records, NAMES)  # after a crash: nothing but the database is known
    more = again.lease(networks[0], EndpointRequest(container_id="c" * 64), "eth0")
    assert more.ipv4 not in {one.ipv4 for one in made if one.network_id == networks[0].id}


def test_ranges_and_reserved_addresses(records: Records, catalog: Catalog) -> None:
    subnet = Subnet(
        subnet="10.9.0.0/24",
        gateway="10.9.0.17",
        ip_range="10.9.0.16/29",
        auxiliary={"router": "10.9.0.18", "printer": "10.9.0.40"},
    )
    network = catalog.define(NetworkRequest(name="ranged", subnets=(subnet,)))
    found = [_lease(records, network).ipv4 for _ in range(6)]
    assert sorted(found) == [f"10.9.0.{n}" for n in (16, 19, 20, 21, 22, 23)]
    with pytest.raises(ResourceExhausted, match=r"has none left in 10\.9\.0\.16/29"):
        _lease(records, network)
    assert _lease(records, network, ipv4="10.9.0.41").ipv4 == "10.9.0.41"
    for reserved in ("10.9.0.17", "10.9.0.18", "10.9.0.40"):
        with pytest.raises(InvalidArgument, match="it is reserved"):
            _lease(records, network, ipv4=reserved)


def test_a_network_without_ipv4(records: Records, catalog: Catalog) -> None:
    network = catalog.define(NetworkRequest(name="six", ipv4=False, ipv6=True))
    assert [parse_prefix(one.subnet).version for one in network.subnets] == [6]
    endpoint = _lease(records, network)
    assert (endpoint.ipv4, endpoint.gateway) == ("", "")
    assert endpoint.ipv6_gateway == network.subnets[0].gateway
    contradiction = NetworkRequest(
        name="x", ipv4=False, ipv6=True, subnets=(Subnet(subnet="10.9.0.0/24"),)
    )
    with pytest.raises(InvalidArgument, match="IPv4 subnet was given for a network without IPv4"):
        catalog.define(contradiction)


def test_a_name_that_exists_is_told_before_there_are_no_subnets(records: Records) -> None:
    catalog = _catalog(records, pools=(AddressPool(base="10.9.0.0/16", size=17),))
    catalog.define(NetworkRequest(name="app"))
    with pytest.raises(Conflict, match="network with name app already exists"):
        catalog.define(NetworkRequest(name="app"))
    with pytest.raises(ResourceExhausted, match="fully subnetted"):
        catalog.define(NetworkRequest(name="other"))


def test_a_configuration_takes_no_addresses(catalog: Catalog) -> None:
    pool = (Subnet(subnet="10.9.0.0/16"),)
    made = catalog.define(NetworkRequest(name="conf", config_only=True, subnets=pool))
    assert (made.driver, made.interface, made.subnets) == ("null", "", pool)
    network = catalog.define(NetworkRequest(name="app", config_from="conf"))
    assert network.subnets[0].gateway == "10.9.0.1"
    assert network.config_from == "conf"
    assert made not in catalog.bridges()
