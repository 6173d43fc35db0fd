"""Published ports of a container that exists: changed while it runs, and for its next start."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.daemon.wiring import open_engine
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.errors import Conflict, InvalidArgument
from wherry.model.container import (
    ContainerChanges,
    ContainerConfig,
    HostConfig,
    NetworkingConfig,
    PortBinding,
)

pytestmark = [pytest.mark.root]

_TWO_SERVERS = (
    "echo here > /index.html; httpd -h / -p 80; httpd -h / -p 81; echo ready; exec sleep 600"
)
Ports = dict[str, tuple[PortBinding, ...] | None]


def _free(count: int) -> list[str]:
    """Ports of the host that nobody has now."""
    held = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _on(port: str, host_ip: str = "") -> tuple[PortBinding, ...]:
    return (PortBinding(host_ip=host_ip, host_port=port),)


class Box:
    """A container with web servers on ports 80 and 81."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def make(self, ports: Ports, *, start: bool = True, **host: Any) -> None:
        config = ContainerConfig(image="busybox", cmd=("sh", "-c", _TWO_SERVERS))
        self.engine.containers.create(
            "box", config, HostConfig(port_bindings=ports, **host), NetworkingConfig()
        )
        if start:
            self.start()

    def start(self) -> None:
        """Returns when the servers listen."""
        attached = self.engine.containers.attach("box", stdin=False, stdout=True, stderr=False)
        self.engine.containers.start("box")
        with attached:
            attached.settimeout(patience(20))
            assert b"ready" in attached.recv(100)

    def restart(self) -> None:
        self.engine.containers.kill("box")
        self.engine.containers.wait("box").result(patience(20))
        self.start()

    def change(self, add: Ports | None = None, *remove: str) -> None:
        changes = ContainerChanges(publish_add=add, publish_remove=remove)
        self.engine.containers.update("box", HostConfig(), changes)

    @property
    def record(self) -> Container:
        found: Container = self.engine.containers.get("box")
        return found

    def published(self) -> set[tuple[int, int]]:
        return {(one.host_port, one.container_port) for one in self.record.ports}

    def fetch(self, port: str, host: str = "127.0.0.1") -> bytes:
        with urllib.request.urlopen(f"http://{host}:{port}", timeout=patience(20)) as reply:
            return bytes(reply.read())


@pytest.fixture
def box(engine: Any, nothing_is_left: None) -> Iterator[Box]:
    made = Box(engine.engine)
    yield made
    made.engine.containers.remove("box", force=True, volumes=True)


def test_ports_come_and_go_and_others_do_not_notice(box: Box) -> None:
    old, web = _free(2)
    box.make({"80/tcp": _on(old)})
    with socket.create_connection(("127.0.0.1", int(old)), patience(20)) as steady:
        steady.sendall(b"GET / HTTP/1.0\r\n")
        box.change({"81/tcp": _on(web)})
        assert box.published() == {(int(old), 80), (int(web), 81)}
        assert box.fetch(web) == box.fetch(web, "[::1]") == b"here\n"
        box.change(None, "81/tcp")
        assert box.published() == {(int(old), 80)}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(web)), patience(20))
        steady.sendall(b"\r\n")
        assert b"200 OK" in steady.recv(100)
    for address, family in (("", socket.AF_INET), ("::", socket.AF_INET6)):
        socket.create_server((address, int(web)), family=family).close()  # it is free
        with pytest.raises(OSError, match="in use"):
            socket.create_server((address, int(old)), family=family)


def test_a_port_of_the_host_goes_to_another_of_the_container(box: Box) -> None:
    (port,) = _free(1)
    box.make({"80/tcp": _on(port)})
    box.change({"81/tcp": _on(port)}, port)
    assert box.published() == {(int(port), 81)}
    assert box.fetch(port) == b"here\n"
    assert box.record.host.port_bindings == {"81/tcp": _on(port)}


def test_a_taken_port_changes_nothing(box: Box) -> None:
    port, other = _free(2)
    box.make({"81/tcp": _on(port)})
    before = box.record
    with socket.create_server(("", 0)) as holder:
        taken = str(holder.getsockname()[1])
        with pytest.raises(Conflict, match=f"{taken} failed: port is already allocated"):
            box.change({"80/tcp": (*_on(other), *_on(taken))}, "81/tcp")
        with pytest.raises(Conflict, match="port is already allocated"):
            box.change({"80/tcp": (*_on(port), *_on(taken))}, "81/tcp")
    assert box.record == before
    assert box.fetch(port) == b"here\n"
    socket.create_server(("", int(other))).close()


@pytest.mark.parametrize(
    ("add", "remove", "sentence"),
    [
        (None, ("82/tcp",), "port 82/tcp is not published"),
        (None, ("81/udp",), "port 81/udp is not published"),
        ({"70000/tcp": None}, (), "invalid port specification"),
        ({"80/tcp": (PortBinding(host_port="9-1"),)}, (), "invalid range"),
        ({"80/tcp": (PortBinding(host_ip="nowhere"),)}, (), "invalid IP address: nowhere"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    box: Box, add: Ports | None, remove: tuple[str, ...], sentence: str
) -> None:
    box.make({"81/tcp": None})
    before = box.record
    with pytest.raises(InvalidArgument, match=sentence):
        box.change(add, *remove)
    assert box.record == before


def test_a_stopped_container_has_them_at_its_next_start(box: Box) -> None:
    first, second = _free(2)
    box.make({"80/tcp": _on(first)}, start=False)
    box.change({"81/tcp": _on(second)}, "80/tcp")
    assert box.record.ports == ()
    box.start()
    assert box.published() == {(int(second), 81)}
    assert box.fetch(second) == b"here\n"


def test_changes_outlive_the_container_s_run_and_are_inspected(box: Box) -> None:
    (port,) = _free(1)
    box.make({})
    box.change({"81/tcp": _on(port)})
    assert box.record.config.exposed_ports == {"81/tcp": {}}
    box.restart()
    assert box.fetch(port) == b"here\n"


def test_one_of_all_exposed_ports_is_taken_back(box: Box) -> None:
    config = ContainerConfig(
        image="busybox",
        cmd=("sh", "-c", _TWO_SERVERS),
        exposed_ports={"80/tcp": {}, "81/tcp": {}},
    )
    box.engine.containers.create(
        "box", config, HostConfig(publish_all_ports=True), NetworkingConfig()
    )
    box.start()
    (web,) = {host for host, port in box.published() if port == 81}
    box.change(None, "80")
    assert box.published() == {(web, 81)}
    box.restart()
    assert {port for _, port in box.published()} == {81}


def test_more_ports_than_one_message_holds(box: Box) -> None:
    box.make({f"{port}/udp": None for port in range(1000, 1400)})
    assert len(box.published()) == 400
    box.change({f"{port}/udp": None for port in range(2000, 2300)})
    assert len(box.published()) == 700
    box.change(None, *(f"{port}/udp" for port in range(1000, 1400)))
    assert len(box.published()) == 300


def test_changes_are_known_to_the_next_engine(tmp_path: Path) -> None:
    settings = EngineSettings(data_root=str(tmp_path / "data"), exec_root=str(tmp_path / "run"))
    first, second = _free(2)
    engine = open_engine(settings)
    try:
        engine.images.bootstrap("busybox", progress=lambda line: None)
        box = Box(engine)
        box.make({"81/tcp": _on(first)})
        box.change({"81/tcp": _on(second)})
        engine.close()
        engine = box.engine = open_engine(settings)
        assert box.fetch(first) == box.fetch(second) == box.fetch(second, "[::1]") == b"here\n"
        box.change(None, first)
        assert box.published() == {(int(second), 81)}
        socket.create_server(("", int(first))).close()
        engine.containers.remove("box", force=True)
    finally:
        engine.networks.purge()  # type: ignore[attr-defined]
        engine.close()
