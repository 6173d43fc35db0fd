"""Containers on several networks: names, links, connecting and parting while they run."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from tests.patience import patience
from tests.root.engine.conftest import read_all, split_frames

from wherry.engine.records import Container, Event, ExecOptions
from wherry.errors import Conflict, InvalidArgument, NotFound, NotSupported, PermissionDenied
from wherry.model.container import (
    ContainerConfig,
    EndpointIpam,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
    PortBinding,
)
from wherry.network.api import NetworkRequest, Subnet

pytestmark = [pytest.mark.root]

_SERVER = ("sh", "-c", "echo here > /index.html; httpd -h / -p 80; echo ready; exec sleep 600")


class Bench:
    """The module's engine, and the networks and containers of one test."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine.engine
        self._containers: list[str] = []
        self._networks: list[str] = []

    def network(self, name: str, subnet: str = "", **members: Any) -> str:
        subnets = (Subnet(subnet=subnet),) if subnet else ()
        made = self.engine.attachments.create(NetworkRequest(name=name, subnets=subnets, **members))
        self._networks.append(made.id)
        return str(made.id)

    def container(
        self,
        name: str,
        *cmd: str,
        start: bool = True,
        host: HostConfig | None = None,
        networks: dict[str, EndpointSettings] | None = None,
        **config: Any,
    ) -> str:
        wanted = ContainerConfig(image="busybox", cmd=cmd or ("sleep", "600"), **config)
        chosen = host or HostConfig(network_mode=next(iter(networks or {}), "bridge"))
        created = self.engine.containers.create(
            name, wanted, chosen, NetworkingConfig(endpoints_config=networks or {})
        )
        self._containers.append(created.id)
        if start:
            self.engine.containers.start(created.id)
        return str(created.id)

    def server(self, name: str, ports: Mapping[str, tuple[PortBinding, ...]]) -> None:
        """A container with a web server on port 80, which listens."""
        self.container(name, *_SERVER, start=False, host=HostConfig(port_bindings=ports))
        attached = self.engine.containers.attach(name, stdin=False, stdout=True, stderr=False)
        self.engine.containers.start(name)
        with attached:
            attached.settimeout(patience(20))
            assert b"ready" in attached.recv(100)

    def record(self, name: str) -> Container:
        found: Container = self.engine.containers.get(name)
        return found

    def inside(self, name: str, *cmd: str) -> str:
        """What a command says in a container, on both streams."""
        return b"".join(split_frames(read_all(self._exec(name, *cmd)))).decode()

    def _exec(self, name: str, *cmd: str) -> Any:
        options = ExecOptions(cmd=cmd, attach_stdout=True, attach_stderr=True)
        made = self.engine.execs.create(name, options)
        return self.engine.execs.start(made, detach=False)

    def resolve(self, name: str, wanted: str) -> str:
        """The address that nslookup finds; empty if there is none."""
        lines = self.inside(name, "nslookup", "-type=a", wanted).splitlines()
        found = [line.split()[-1] for line in lines if line.startswith("Address:")]
        return found[-1] if len(found) > 1 else ""

    def default_route(self, name: str) -> str:
        lines = self.inside(name, "ip", "route").splitlines()
        return next((line.split()[2] for line in lines if line.startswith("default")), "")

    def clear(self) -> None:
        for container in reversed(self._containers):
            with suppress(NotFound):
                self.engine.containers.remove(container, force=True, volumes=True)
        for network in self._networks:
            with suppress(NotFound):
                self.engine.attachments.remove(network)


@pytest.fixture(scope="module")
def anchor(engine: Any) -> Iterator[None]:
    """A container that keeps the resolver's process from one test to the next."""
    bench = Bench(engine)
    bench.network("anchor")
    bench.container("anchor", networks={"anchor": EndpointSettings()})
    yield
    bench.clear()


@pytest.fixture
def bench(engine: Any, anchor: None, nothing_is_left: None) -> Iterator[Bench]:
    made = Bench(engine)
    yield made
    made.clear()


def test_containers_of_a_network_find_each_other(bench: Bench) -> None:
    bench.network("one")
    aliases = EndpointSettings(aliases=("www", "shop"))
    bench.container("web", networks={"one": aliases}, hostname="front")
    bench.container("client", networks={"one": EndpointSettings()})
    address = bench.record("web").endpoints["one"].ipv4
    for name in ("web", "WWW", "shop", "front", bench.record("web").id[:12], "web.one"):
        assert bench.resolve("client", name) == address
    assert "name = web.one" in bench.inside("client", "nslookup", address)
    assert bench.inside("client", "ping", "-c1", "-W5", "www").count("bytes from") == 1
    assert bench.inside("client", "cat", "/etc/resolv.conf").startswith("nameserver 127.0.0.11\n")
    bench.engine.containers.rename("web", "net-renamed")
    assert bench.resolve("client", "net-renamed") == address
    bench.engine.containers.stop("net-renamed", timeout=0)
    assert bench.resolve("client", "net-renamed") == ""


def test_names_end_at_the_network(bench: Bench) -> None:
    bench.network("one")
    bench.network("two")
    bench.container("web", networks={"one": EndpointSettings()})
    bench.container("stranger", networks={"two": EndpointSettings()})
    bench.container("plain")
    assert bench.resolve("stranger", "web") == ""
    assert "127.0.0.11" not in bench.inside("plain", "cat", "/etc/resolv.conf")


def test_a_running_container_comes_and_goes(bench: Bench) -> None:
    bench.network("one", "10.211.1.0/24")
    bench.container("web", networks={"one": EndpointSettings()})
    bench.container("roamer")
    told: list[Event] = []
    unsubscribe = bench.engine.events.subscribe(told.append)
    settings = EndpointSettings(
        aliases=("walker",),
        mac_address="02:42:0a:0b:0c:0d",
        ipam_config=EndpointIpam(ipv4_address="10.211.1.77"),
    )
    bench.engine.attachments.connect("one", "roamer", settings)
    assert bench.resolve("web", "walker") == "10.211.1.77"
    assert bench.resolve("roamer", "web") == bench.record("web").endpoints["one"].ipv4
    assert "02:42:0a:0b:0c:0d" in bench.inside("roamer", "ip", "link", "show", "eth1")
    assert "10.211.1.77" in bench.inside("roamer", "cat", "/etc/hosts")
    with pytest.raises(PermissionDenied, match="already exists in network one"):
        bench.engine.attachments.connect("one", "roamer", settings)

    bench.engine.attachments.disconnect("one", "roamer", force=False)
    unsubscribe()
    assert bench.resolve("web", "walker") == ""
    assert "eth1" not in bench.inside("roamer", "ip", "link")
    assert "10.211.1.77" not in bench.inside("roamer", "cat", "/etc/hosts")
    assert "127.0.0.11" not in bench.inside("roamer", "cat", "/etc/resolv.conf")
    assert list(bench.record("roamer").networking) == ["bridge"]
    with pytest.raises(PermissionDenied, match="is not connected to network one"):
        bench.engine.attachments.disconnect("one", "roamer", force=True)
    actions = [(e.action, e.attributes["name"]) for e in told if e.type == "network"]
    assert actions == [("connect", "one"), ("disconnect", "one")]


def test_a_container_that_does_not_run_is_connected_for_its_next_start(bench: Bench) -> None:
    bench.network("one")
    bench.container("sleeper", start=False)
    bench.engine.attachments.connect("one", "sleeper", EndpointSettings(aliases=("bed",)))
    bench.engine.attachments.disconnect("bridge", "sleeper", force=False)
    bench.engine.containers.start("sleeper")
    assert list(bench.record("sleeper").endpoints) == ["one"]
    assert bench.resolve("sleeper", "bed") == bench.record("sleeper").endpoints["one"].ipv4
    bench.engine.attachments.disconnect("one", "sleeper", force=False)
    bench.engine.containers.restart("sleeper", timeout=0)
    assert bench.record("sleeper").endpoints == {}


def test_the_default_route_follows_the_priority(bench: Bench) -> None:
    for number, name in enumerate(("low", "high", "internal")):
        bench.network(name, f"10.212.{number}.0/24", internal=name == "internal")
    bench.container(
        "many",
        networks={
            "low": EndpointSettings(),
            "high": EndpointSettings(gw_priority=10),
            "internal": EndpointSettings(gw_priority=20),
        },
    )
    assert bench.default_route("many") == "10.212.1.1"
    interfaces = {name: e.interface for name, e in bench.record("many").endpoints.items()}
    assert interfaces == {"low": "eth0", "high": "eth1", "internal": "eth2"}
    bench.engine.attachments.disconnect("high", "many", force=False)
    assert bench.default_route("many") == "10.212.0.1"
    bench.engine.attachments.connect("high", "many", EndpointSettings(gw_priority=1))
    assert bench.default_route("many") == "10.212.1.1"
    assert bench.record("many").endpoints["high"].interface == "eth1"


def _fetch(host: str, port: int) -> bytes:
    with urllib.request.urlopen(f"http://{host}:{port}", timeout=patience(20)) as reply:
        return bytes(reply.read())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_published_ports_follow_the_default_route(bench: Bench, address: str) -> None:
    bench.network("one")
    ports = {"80/tcp": (PortBinding(host_ip=address),)}
    bench.server("web", ports)
    port = bench.record("web").ports[0].host_port
    host = f"[{address}]" if ":" in address else address
    assert _fetch(host, port) == b"here\n"
    bench.engine.attachments.connect("one", "web", EndpointSettings(gw_priority=5))
    assert _fetch(host, port) == b"here\n"
    bench.engine.attachments.disconnect("one", "web", force=False)
    assert _fetch(host, port) == b"here\n"
    bench.engine.attachments.disconnect("bridge", "web", force=False)
    bench.engine.attachments.connect("one", "web", EndpointSettings())
    assert _fetch(host, port) == b"here\n"
    assert bench.record("web").ports[0].host_port == port


def test_a_port_is_published_on_all_addresses_of_both_families(bench: Bench) -> None:
    ports = {"80/tcp": (PortBinding(),)}
    bench.server("web", ports)
    published = bench.record("web").ports
    assert [port.host_ip for port in published] == ["0.0.0.0", "::"]
    assert len({port.host_port for port in published}) == 1
    for host in ("127.0.0.1", "[::1]", "localhost"):
        assert _fetch(host, published[0].host_port) == b"here\n"


def test_links_are_names_on_user_networks(bench: Bench) -> None:
    bench.network("one")
    linked = EndpointSettings(links=("target:store",))
    bench.container("client", networks={"one": linked})
    assert bench.resolve("client", "store") == ""
    bench.container("target", networks={"one": EndpointSettings()})
    assert bench.resolve("client", "store") == bench.record("target").endpoints["one"].ipv4
    assert bench.resolve("target", "store") == ""


def test_links_on_the_default_bridge_are_hosts_and_variables(bench: Bench) -> None:
    bench.container("target", env=("COLOUR=red",), exposed_ports={"5432/tcp": {}})
    bench.container("client", host=HostConfig(links=("target:data-base",)))
    address = bench.record("target").endpoints["bridge"].ipv4
    assert f"{address}\tdata-base " in bench.inside("client", "cat", "/etc/hosts")
    variables = bench.inside("client", "env").splitlines()
    assert "DATA_BASE_NAME=/client/data-base" in variables
    assert f"DATA_BASE_PORT_5432_TCP_ADDR={address}" in variables
    assert "DATA_BASE_ENV_COLOUR=red" in variables
    with pytest.raises(NotFound, match="No such link: client/nosuch"):
        bench.engine.attachments.remove_link("client/nosuch")
    bench.engine.containers.stop("target", timeout=0)
    with pytest.raises(Conflict, match="Cannot link to a non running container: /target AS"):
        bench.engine.containers.restart("client", timeout=0)
    bench.engine.containers.start("target")
    bench.engine.containers.start("client")
    bench.engine.attachments.remove_link("/client/data-base")
    assert "data-base" not in bench.inside("client", "cat", "/etc/hosts")
    assert bench.record("client").host.links == ()


def test_who_shares_a_network_shares_its_names(bench: Bench) -> None:
    bench.network("one")
    bench.container("owner", networks={"one": EndpointSettings(aliases=("shared",))})
    bench.container("guest", host=HostConfig(network_mode="container:owner"))
    for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname"):
        assert bench.inside("guest", "cat", path) == bench.inside("owner", "cat", path)
    assert bench.inside("guest", "hostname") == bench.inside("owner", "hostname")
    assert bench.resolve("guest", "shared") == bench.record("owner").endpoints["one"].ipv4
    with pytest.raises(InvalidArgument, match="sharing network namespace"):
        bench.engine.attachments.connect("one", "guest", EndpointSettings())


def test_what_cannot_be_is_refused_in_one_sentence(bench: Bench) -> None:
    bench.network("one", "10.213.0.0/24")
    bench.container("web", networks={"one": EndpointSettings()})
    connect = bench.engine.attachments.connect
    with pytest.raises(NotFound, match="network nosuch not found"):
        connect("nosuch", "web", EndpointSettings())
    with pytest.raises(NotFound, match="No such container: nosuch"):
        connect("one", "nosuch", EndpointSettings())
    with pytest.raises(InvalidArgument, match="network host"):
        connect("host", "web", EndpointSettings())
    with pytest.raises(InvalidArgument, match="aliases are only supported"):
        connect("bridge", "web", EndpointSettings(aliases=("a",)))
    sysctls = EndpointSettings(driver_opts={"com.docker.network.endpoint.sysctls": "a=b"})
    with pytest.raises(NotSupported, match=r"endpoint\.sysctls"):
        connect("bridge", "web", sysctls)
    taken = EndpointIpam(ipv4_address=bench.record("web").endpoints["one"].ipv4)
    bench.container("other")
    with pytest.raises(PermissionDenied, match="Address already in use"):
        connect("one", "other", EndpointSettings(ipam_config=taken))
    assert list(bench.record("other").networking) == ["bridge"]
    assert "127.0.0.11" not in bench.inside("other", "cat", "/etc/resolv.conf")
    with pytest.raises(PermissionDenied, match="has active endpoints"):
        bench.engine.attachments.remove("one")


def test_prune_keeps_what_a_stopped_container_wants(bench: Bench) -> None:
    bench.network("kept")
    bench.network("gone", labels={"a": "b"})
    bench.network("other", labels={"a": "c"})
    bench.container("sleeper", start=False, networks={"kept": EndpointSettings()})
    assert bench.engine.attachments.prune({"until": ["1h"]}) == ()
    assert bench.engine.attachments.prune({"label!": ["a"]}) == ()
    assert bench.engine.attachments.prune({"label": ["a=b"]}) == ("gone",)
    assert bench.engine.attachments.prune() == ("other",)
    with pytest.raises(InvalidArgument, match="invalid filter"):
        bench.engine.attachments.prune({"nosuch": ["x"]})
