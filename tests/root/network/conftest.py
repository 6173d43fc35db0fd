"""A host of its own for each test: a network namespace with another host beside it.

Nothing here touches the machine's own network, and nothing is sent out of these namespaces.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from tests.patience import patience

from wherry.network.api import Endpoint, EndpointRequest, NetworkRequest, PortRequest
from wherry.network.bridge import BridgeNetworks
from wherry.network.config import NetworkDefaults
from wherry.network.sandbox import NetnsSandbox, open_own_namespace, run_inside
from wherry.store.database import Database
from wherry.sys.namespaces import CLONE_NEWNET, setns, unshare
from wherry.sys.netlink.nftables import NftConnection
from wherry.sys.netlink.route import RouteConnection, Veth

Result = TypeVar("Result")

PATIENCE = 0.5  # seconds for what must not arrive
_LONG = patience(5.0)


@dataclass
class Place:
    """A network namespace in which to do things."""

    netns_fd: int

    def run(self, work: Callable[[], Result]) -> Result:
        return run_inside(self.netns_fd, work)

    def call(self, address: str, port: int, timeout: float = _LONG) -> str:
        """What an echo server says about who called it."""

        def talk() -> str:
            with socket.create_connection((address, port), timeout) as connection:
                return connection.recv(100).decode()

        return self.run(talk)

    def call_udp(self, address: str, port: int, timeout: float = _LONG) -> str:
        def talk() -> str:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as one:
                one.settimeout(timeout)
                one.connect((address, port))
                one.send(b"?")
                return one.recv(100).decode()

        return self.run(talk)

    def reaches(self, address: str, port: int) -> bool:
        return self._connects(address, port, _LONG)

    def is_kept_from(self, address: str, port: int) -> bool:
        return not self._connects(address, port, PATIENCE)

    def _connects(self, address: str, port: int, patience: float) -> bool:
        try:
            self.call(address, port, patience)
        except OSError:
            return False
        return True

    def send_datagram(self, interface: str, mac: str, source: str, target: str, port: int) -> None:
        """Put a UDP datagram on the wire as no routing table would."""
        payload = b"forged"
        udp = struct.pack(">HHHH", 7777, port, 8 + len(payload), 0) + payload
        packet = _ipv4_header(source, target, len(udp)) + udp

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as wire:
                address = bytes.fromhex(mac.replace(":", ""))
                wire.sendto(packet, (interface, 0x0800, 0, 0, address))

        self.run(send)


def _ipv4_header(source: str, target: str, size: int) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, socket.IPPROTO_UDP, 0)
    words = struct.unpack(">10H", header + addresses)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack(">H", ~total & 0xFFFF) + addresses


@dataclass
class Outside(Place):
    """Another host, with its own addresses and those by which it knows the engine's host."""

    address: str = "198.51.100.2"
    address6: str = "2001:db8:1::2"
    host: str = "198.51.100.1"
    host6: str = "2001:db8:1::1"

    def route_to(self, prefix: str) -> None:
        """Send packets for a range to the engine's host, as a neighbour may do unasked."""
        family = "-6" if ":" in prefix else "-4"
        gateway = self.host6 if ":" in prefix else self.host
        command = ["ip", family, "route", "add", prefix, "via", gateway]
        self.run(lambda: subprocess.run(command, check=True))


@dataclass
class EchoServer:
    """Tells every caller which address it sees; ends with its socket."""

    listener: socket.socket

    def serve(self) -> None:
        while True:
            try:
                connection, peer = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(peer[0].encode())

    def serve_udp(self) -> None:
        while True:
            try:
                _, peer = self.listener.recvfrom(100)
                if peer is None:  # it was shut down
                    return
                self.listener.sendto(peer[0].encode(), peer)
            except OSError:
                return


@dataclass
class Servers:
    """Echo servers of one test."""

    running: list[tuple[socket.socket, threading.Thread]] = field(default_factory=list)

    def start(self, place: Place, port: int, kind: int = socket.SOCK_STREAM) -> None:
        def listen() -> socket.socket:
            one = socket.socket(socket.AF_INET6, kind)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                one.listen()
            return one

        listener = place.run(listen)
        server = EchoServer(listener)
        work = server.serve if kind == socket.SOCK_STREAM else server.serve_udp
        thread = threading.Thread(target=work)
        thread.start()
        self.running.append((listener, thread))

    def stop(self) -> None:
        for listener, thread in self.running:
            listener.shutdown(socket.SHUT_RDWR) if listener.type == socket.SOCK_STREAM else None
            _wake(listener)
            listener.close()
            thread.join(_LONG)
            assert not thread.is_alive()


def _wake(listener: socket.socket) -> None:
    """End a thread that waits for a datagram."""
    if listener.type == socket.SOCK_DGRAM:
        try:
            listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected, and its readers are woken all the same


@pytest.fixture
def host() -> Iterator[Place]:
    """The namespace that the test itself, and the engine's threads, are in."""
    home = open_own_namespace()
    unshare(CLONE_NEWNET)
    fd = open_own_namespace()
    try:
        route = RouteConnection()
        route.take_up("lo")
        route.close()
        yield Place(fd)
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)
        os.close(fd)


@pytest.fixture
def outside(host: Place) -> Iterator[Outside]:
    """Another host on the same wire, without a route to any container."""
    other = _new_namespace()
    found = Outside(other)
    route = RouteConnection()
    bridge = route.create_bridge("wire0", 1500, "02:00:00:00:00:01")
    veth = Veth(
        "wire1", bridge.index, 1500, "02:00:00:00:00:02", "wire", other, "02:00:00:00:00:03"
    )
    route.create_veth(veth)
    for text in (f"{found.host}/24", f"{found.host6}/64"):
        route.configure(bridge.index, [ipaddress.ip_interface(text)], ())
    inside = run_inside(other, RouteConnection)
    inside.take_up("lo")
    index = inside.take_up("wire").index
    for text in (f"{found.address}/24", f"{found.address6}/64"):
        inside.configure(index, [ipaddress.ip_interface(text)], ())
    inside.close()
    route.close()
    yield found
    os.close(other)


def _new_namespace() -> int:
    fds: list[int] = []

    def make() -> None:
        unshare(CLONE_NEWNET)
        fds.append(open_own_namespace())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return fds[0]


class Machine:
    """An engine's networks, with containers that are only namespaces."""

    def __init__(self, directory: Path, instance: str, defaults: NetworkDefaults) -> None:
        self.db = Database(str(directory / f"{instance}.db"))
        self.instance = instance
        self.defaults = defaults
        self.networks = BridgeNetworks(self.db, instance, defaults)
        self.sandboxes: list[NetnsSandbox] = []
        self.sockets: list[int] = []

    def restart(self) -> None:
        """As after the engine was killed: nothing was told to end."""
        self.networks.close()
        self.networks = BridgeNetworks(self.db, self.instance, self.defaults)

    def container(self, network: str = "bridge", name: str = "", **request: str) -> Container:
        sandbox = self.networks.new_sandbox()
        self.sandboxes.append(sandbox)
        asked = EndpointRequest(container_id=os.urandom(32).hex(), container_name=name, **request)
        return Container(sandbox, self.networks.connect(network, sandbox, asked))

    def join(self, container: Container, network: str, **request: str) -> Endpoint:
        """Attach a container to one more network."""
        identity = container.endpoint.container_id
        asked = EndpointRequest(container_id=identity, **request)
        return self.networks.connect(network, container.sandbox, asked)

    def publish(self, container: Container, *requests: PortRequest) -> list[int]:
        """The ports of the host; the sockets are held until the end of the test, as by a
        container's monitor."""
        publication = self.networks.publish(container.endpoint, requests)
        self.sockets += publication.sockets
        self.sockets += [one.socket for one in publication.listening]
        return list(dict.fromkeys(port.host_port for port in publication.ports))

    def release_sockets(self) -> None:
        while self.sockets:
            os.close(self.sockets.pop())

    def network(self, name: str, **request: object) -> str:
        return self.networks.create(NetworkRequest(name=name, **request)).name  # type: ignore[arg-type]

    def close(self) -> None:
        self.release_sockets()
        for sandbox in self.sandboxes:
            sandbox.close()
        self.networks.purge()
        self.db.close()


@dataclass
class Container(Place):
    """A sandbox with an endpoint."""

    sandbox: NetnsSandbox
    endpoint: Endpoint

    def __init__(self, sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
        super().__init__(sandbox.netns_fd)
        self.sandbox = sandbox
        self.endpoint = endpoint


@pytest.fixture
def engines(host: Place, tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Makes engines; afterwards each is purged, and must have left nothing in the namespace."""
    machines: list[Machine] = []

    def make(instance: str = "t1", **defaults: object) -> Machine:
        settings = NetworkDefaults(**defaults)  # type: ignore[arg-type]
        machines.append(Machine(tmp_path, instance, settings))
        return machines[-1]

    threads = set(threading.enumerate())
    yield make
    for machine in machines:
        machine.close()
    assert not _left_in_namespace(machines)
    assert not [one.name for one in set(threading.enumerate()) - threads]


def _left_in_namespace(machines: list[Machine]) -> list[str]:
    route, nft = RouteConnection(), NftConnection()
    try:
        found = [link.name for link in route.links() if link.name.startswith(("wh", "wv"))]
        return found + [m.instance for m in machines if nft.has_table(f"wherry_{m.instance}")]
    finally:
        route.close()
        nft.close()


@pytest.fixture
def engine(engines: Callable[..., Machine]) -> Machine:
    return engines()


@pytest.fixture
def servers() -> Iterator[Servers]:
    found = Servers()
    yield found
    found.stop()
