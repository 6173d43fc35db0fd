"""Networks and endpoints from making to removal, restarts and repairs included."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from wherry.network import sysctl
from wherry.network.api import EndpointRequest, PortRequest, Subnet
from wherry.network.config import AddressPool
from wherry.network.sandbox import NetnsSandbox, run_inside
from wherry.sys.netlink.nftables import NftConnection
from wherry.sys.netlink.route import RouteConnection

pytestmark = pytest.mark.root


def _links(prefix: str = "w") -> set[str]:
    route = RouteConnection()
    try:
        return {link.name for link in route.links() if link.name.startswith(prefix)}
    finally:
        route.close()


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def test_a_sandbox_is_ready(engine: Any) -> None:
    container = engine.container("bridge")

    def look() -> tuple[set[str], list[str]]:
        names = ("ipv4/ip_unprivileged_port_start", "ipv4/ping_group_range")
        return _links(""), [sysctl.read(name) for name in names]

    links, settings = container.run(look)
    assert {"lo", "eth0"} <= links
    assert settings == ["0", "0\t2147483647"]
    assert container.endpoint.mac == "02:42:" + ":".join(
        f"{int(part):02x}" for part in container.endpoint.ipv4.split(".")
    )


def test_a_container_without_ipv6_has_none(engine: Any) -> None:
    container = engine.container()
    assert container.run(lambda: sysctl.read("ipv6/conf/eth0/disable_ipv6")) == "1"


def test_a_sandbox_of_a_running_process(engine: Any) -> None:
    """What ``docker network connect`` does to a running container."""
    container = engine.container()
    process = container.run(lambda: subprocess.Popen(["sleep", "60"]))
    engine.network("later")
    try:
        sandbox = engine.networks.open_sandbox(process.pid)
        request = EndpointRequest(container_id="c" * 64, mac="02-AA-00-00-00-01")
        endpoint = engine.networks.connect("later", sandbox, request)
        sandbox.close()
        assert endpoint.interface == "eth1"
        assert endpoint.mac == "02:aa:00:00:00:01"
        assert container.run(lambda: "eth1" in _links("eth"))
        routes = container.run(lambda: RouteConnection().routes())
        assert sum(route.destination is None for route in routes) == 1
    finally:
        process.kill()
        process.wait()
    with pytest.raises(NotFound):
        engine.networks.open_sandbox(process.pid)


def test_an_address_that_was_asked_for(engine: Any) -> None:
    engine.network("fixed", subnets=(Subnet(subnet="10.77.0.0/24"),))
    container = engine.container("fixed", ipv4="10.77.0.9")
    assert (container.endpoint.ipv4, container.endpoint.gateway) == ("10.77.0.9", "10.77.0.1")
    with pytest.raises(PermissionDenied, match="Address already in use"):
        engine.container("fixed", ipv4="10.77.0.9")
    for wrong in ("10.77.0.1", "10.77.0.255", "10.78.0.9"):
        with pytest.raises(InvalidArgument, match="invalid address"):
            engine.container("fixed", ipv4=wrong)
    with pytest.raises(InvalidArgument, match="user defined networks only"):
        engine.container(ipv4="172.17.0.9")


def test_an_address_is_free_again_for_the_one_who_asks_for_it(engine: Any) -> None:
    """As when compose stops and starts a service: the link of the old one is still going."""
    engine.network("fixed", subnets=(Subnet(subnet="10.77.0.0/24"),))
    for _ in range(3):
        container = engine.container("fixed", ipv4="10.77.0.9")
        engine.networks.disconnect(container.endpoint)
        engine.networks.disconnect(container.endpoint)


def test_a_full_network(engine: Any) -> None:
    engine.network("tiny", subnets=(Subnet(subnet="10.77.0.0/30"),))
    first = engine.container("tiny")
    with pytest.raises(ResourceExhausted, match="no available addresses"):
        engine.container("tiny")
    engine.networks.disconnect(first.endpoint)  # whoever comes next waits for its address
    assert engine.container("tiny").endpoint.ipv4 == first.endpoint.ipv4


@pytest.mark.slow
def test_a_full_bridge(engine: Any) -> None:
    endpoints = []
    sandbox = engine.networks.new_sandbox()
    engine.sandboxes.append(sandbox)
    request = EndpointRequest(container_id="c" * 64)
    for _ in range(1023):
        endpoints.append(engine.networks.connect("bridge", sandbox, request))
    with pytest.raises(ResourceExhausted, match="network bridge is full"):
        engine.networks.connect("bridge", sandbox, request)
    assert len(endpoints) == len({endpoint.ipv4 for endpoint in endpoints}) == 1023
    for endpoint in endpoints:
        engine.networks.disconnect(endpoint)
    engine.networks.drain()
    assert _links("wv") == set()


def test_many_at_a_time(engine: Any) -> None:
    def start(number: int) -> Any:
        sandbox = engine.networks.new_sandbox()
        request = EndpointRequest(container_id=f"{number:064x}")
        endpoint = engine.networks.connect("bridge", sandbox, request)
        publication = engine.networks.publish(endpoint, [PortRequest(container_port=80)])
        return sandbox, endpoint, publication

    with ThreadPoolExecutor(20) as executor:
        started = list(executor.map(start, range(40)))
    for sandbox, _, publication in started:
        engine.sandboxes.append(sandbox)
        engine.sockets += publication.sockets
        engine.sockets += [one.socket for one in publication.listening]
    endpoints = [endpoint for _, endpoint, _ in started]
    assert len({endpoint.ipv4 for endpoint in endpoints}) == 40
    assert {endpoint.host_interface for endpoint in endpoints} == _links("wv")
    assert set(engine.networks.endpoints("bridge")) == set(endpoints)
    with ThreadPoolExecutor(20) as executor:
        list(executor.map(engine.networks.disconnect, endpoints))
    engine.networks.drain()
    assert _links("wv") == set()
    assert engine.networks.endpoints("bridge") == ()


def test_a_released_address_is_not_used_at_once(engine: Any) -> None:
    sandbox = engine.networks.new_sandbox()
    engine.sandboxes.append(sandbox)
    seen = set()
    for number in range(60):
        request = EndpointRequest(container_id=f"{number:064x}")
        endpoint = engine.networks.connect("bridge", sandbox, request)
        engine.networks.disconnect(endpoint)
        seen.add(endpoint.ipv4)
    assert len(seen) == 60


def test_nothing_is_left_of_a_connection_that_fails(engine: Any) -> None:
    """Before there is a link, and after: the second one's routing socket is not inside it."""
    no_namespace = NetnsSandbox(os.open("/dev/null", os.O_RDONLY))
    whole = engine.networks.new_sandbox()
    mismatched = NetnsSandbox(os.dup(whole.netns_fd), RouteConnection())
    before = _links()
    for sandbox in (no_namespace, mismatched):
        with pytest.raises(InternalError, match="cannot connect container cccccccccccc to"):
            engine.networks.connect("bridge", sandbox, EndpointRequest(container_id="c" * 64))
        sandbox.close()
    whole.close()
    assert _links() == before
    assert engine.networks.endpoints("bridge") == ()


def test_a_name_that_is_taken_inside(engine: Any) -> None:
    """A container with the privilege may make interfaces of its own."""
    sandbox = engine.networks.new_sandbox()
    engine.sandboxes.append(sandbox)
    run_inside(sandbox.netns_fd, lambda: _run("ip link add eth0 type bridge"))
    endpoint = engine.networks.connect("bridge", sandbox, EndpointRequest(container_id="c" * 64))
    assert endpoint.interface == "eth1"
    assert engine.networks.endpoints("bridge") == (endpoint,)


def test_two_engines_choose_different_subnets(engines: Any) -> None:
    first, second = engines("one"), engines("two")
    _run("ip link add docker0 type bridge")
    _run("ip addr add 172.19.0.1/16 dev docker0")
    first.network("more")
    subnets = [m.networks.get("bridge").subnets[0].subnet for m in (first, second)]
    assert subnets == ["172.17.0.0/16", "172.18.0.0/16"]
    assert first.networks.get("more").subnets[0].subnet == "172.20.0.0/16"


def test_the_mtu_of_the_hosts_way_out(host: Any, engines: Any, outside: Any) -> None:
    _run("ip link set wire0 mtu 1400")
    _run(f"ip route add default via {outside.address}")
    container = engines().container()
    route = run_inside(container.netns_fd, RouteConnection)
    assert route.link("eth0").mtu == 1400
    route.close()


def test_networks_come_and_go(engine: Any) -> None:
    name = engine.network("app", options={"com.docker.network.driver.mtu": "1300"})
    network = engine.networks.get(name)
    assert network.interface in _links("wh")
    with pytest.raises(Conflict, match="network with name app already exists"):
        engine.network("app")
    container = engine.container("app")
    with pytest.raises(PermissionDenied, match="has active endpoints"):
        engine.networks.remove("app")
    engine.networks.disconnect(container.endpoint)
    engine.networks.remove(network.id[:12])
    assert network.interface not in _links("wh")
    with pytest.raises(NotFound, match="network app not found"):
        engine.networks.get("app")


def test_a_bridge_of_somebody_else_is_not_taken(engine: Any) -> None:
    _run("ip link add mine type bridge")
    with pytest.raises(Conflict, match="interface mine exists already"):
        engine.network("app", options={"com.docker.network.bridge.name": "mine"})
    assert "mine" in _links("mine")
    engine.network("app", options={"com.docker.network.bridge.name": "whapp"})
    engine.networks.remove("app")


def test_a_restarted_engine_goes_on(outside: Any, engine: Any, servers: Any) -> None:
    kept, gone = engine.container(), engine.container()
    servers.start(kept, 80)
    engine.publish(kept, PortRequest(container_port=80, host_port_first=8080))
    engine.publish(gone, PortRequest(container_port=80, host_port_first=8081))
    engine.restart()
    assert outside.reaches(outside.host, 8080)
    engine.networks.reconcile([kept.endpoint])
    assert outside.reaches(outside.host, 8080)
    assert _links("wv") == {kept.endpoint.host_interface}
    assert engine.networks.endpoints("bridge") == (kept.endpoint,)
    assert engine.container().endpoint.ipv4 != kept.endpoint.ipv4
    engine.networks.unpublish(kept.endpoint)
    assert outside.is_kept_from(outside.host, 8080)


def test_reconcile_restores_what_others_removed(outside: Any, engine: Any, servers: Any) -> None:
    container = engine.container()
    servers.start(container, 80)
    engine.publish(container, PortRequest(container_port=80, host_port_first=8080))
    table = f"wherry_{engine.instance}"
    _run(f"ip link del {engine.networks.get('bridge').interface}")
    nft = NftConnection()
    assert nft.has_table(table)
    engine.networks._firewall.purge()
    assert not nft.has_table(table)
    nft.close()
    engine.networks.reconcile([container.endpoint])
    assert outside.reaches(outside.host, 8080)


def test_reconcile_restores_a_lost_lease(engine: Any) -> None:
    container = engine.container()
    engine.db.execute("DELETE FROM network_endpoint")
    engine.networks.reconcile([container.endpoint])
    assert engine.networks.endpoints("bridge") == (container.endpoint,)
    assert container.endpoint.host_interface in _links("wv")


def test_a_flushed_table_and_a_removed_bridge_mend_themselves(
    outside: Any, engine: Any, servers: Any
) -> None:
    engine.networks._firewall.purge()
    _run(f"ip link del {engine.networks.get('bridge').interface}")
    container = engine.container()
    servers.start(container, 80)
    engine.publish(container, PortRequest(container_port=80, host_port_first=8080))
    assert outside.reaches(outside.host, 8080)


def test_settings_of_the_default_bridge_follow_the_engines(engines: Any) -> None:
    first = engines("one")
    first.networks.close()
    first.defaults = type(first.defaults)(bridge_address="10.55.0.1/24", icc=False)
    first.restart()
    (subnet,) = first.networks.get("bridge").subnets
    assert (subnet.subnet, subnet.gateway) == ("10.55.0.0/24", "10.55.0.1")
    assert first.container().endpoint.ipv4 == "10.55.0.2"


def test_pools_of_the_engine(engines: Any) -> None:
    machine = engines(pools=(AddressPool("10.9.0.0/16", 24),))
    machine.network("more")
    subnets = [one.subnets[0].subnet for one in machine.networks.list() if one.subnets]
    assert subnets == ["10.9.0.0/24", "10.9.1.0/24"]


def test_an_engine_that_ends_leaves_its_networks_until_it_is_purged(engine: Any) -> None:
    container = engine.container()
    bridge = engine.networks.get("bridge").interface
    engine.networks.close()
    assert {bridge, container.endpoint.host_interface} <= _links()
    engine.restart()
    engine.networks.purge()
    assert _links() == set()
    engine.restart()
    assert bridge in _links()


def test_sandboxes_for_many_who_wait(engine: Any) -> None:
    taken: list[NetnsSandbox] = []
    threads = [
        threading.Thread(target=lambda: taken.append(engine.networks.new_sandbox()))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.sandboxes += taken
    assert len({os.fstat(one.netns_fd).st_ino for one in taken}) == 30
