"""Published ports where the packet filter cannot lead: a process listens, and passes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.network.api import Listening, PortRequest
from wherry.network.resolver.client import ResolverClient
from wherry.network.sandbox import run_inside

pytestmark = pytest.mark.root

WEB = PortRequest(container_port=80, host_port_first=8080)
DNS = PortRequest(container_port=53, host_port_first=5353, protocol="udp")
_LONG = patience(20.0)


class Helper:
    """The engine's helper process, and the containers it knows of."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self.told: dict[str, tuple[int, tuple[Listening, ...]]] = {}
        self.client = ResolverClient(str(directory))

    def publish(self, engine: Any, container: Any, *requests: PortRequest) -> None:
        """As the engine does at a container's start."""
        publication = engine.networks.publish(container.endpoint, requests)
        engine.sockets += publication.sockets
        identity = container.endpoint.container_id
        self.client.listen(identity, publication.listening)
        for one in publication.listening:
            os.close(one.socket)
        process = run_inside(container.netns_fd, lambda: subprocess.Popen(["sleep", "600"]))
        self._processes.append(process)
        self.client.follow(identity, process.pid)
        ports = engine.networks.listening(container.endpoint, publication.ports)
        self.told[identity] = (process.pid, ports)

    def successor(self) -> None:
        """Another engine takes up what there is."""
        self.client.close()
        self.client = ResolverClient(str(self._directory))
        self.client.restore([], [], self.told)

    def end_processes(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.client.purge()
        self.end_processes()
        for thread in threading.enumerate():
            if thread.name == "wherry-resolver-watch":
                thread.join(_LONG)


@pytest.fixture
def helper(engine: Any, tmp_path: Path) -> Iterator[Helper]:
    found = Helper(tmp_path)
    yield found
    found.close()


def helper_pid() -> int:
    """The children of a thread that ends become those of the first, which is read last."""
    first = os.getpid()
    others = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    children = [pid for task in (*others, first) for pid in children_of(task)]
    (found,) = {pid for pid in children if "resolver" in Path(f"/proc/{pid}/comm").read_text()}
    return int(found)


def children_of(thread: int) -> list[str]:
    try:
        return Path(f"/proc/self/task/{thread}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_a_container_without_ipv6_is_reached_by_it(
    helper: Helper, engine: Any, host: Any, outside: Any, servers: Any
) -> None:
    container = engine.container()
    servers.start(container, 80)
    servers.start(container, 53, socket.SOCK_DGRAM)
    helper.publish(engine, container, WEB, DNS)
    gateway = f"::ffff:{container.endpoint.gateway}"
    assert host.call("::1", 8080) == gateway
    assert outside.call(outside.host6, 8080) == gateway
    assert host.call_udp("::1", 5353) == gateway
    assert outside.call_udp(outside.host6, 5353) == gateway
    assert outside.call(outside.host, 8080) == f"::ffff:{outside.address}"  # translated, as ever


def test_a_container_with_ipv6_sees_callers_but_those_of_the_loopback(
    helper: Helper, engine: Any, host: Any, outside: Any, servers: Any
) -> None:
    container = engine.container(engine.network("dual", ipv6=True))
    servers.start(container, 80)
    helper.publish(engine, container, WEB)
    assert outside.call(outside.host6, 8080) == outside.address6
    assert host.call("::1", 8080) == container.endpoint.ipv6_gateway
    assert host.call("127.0.0.1", 8080) == f"::ffff:{container.endpoint.gateway}"


def test_a_container_without_ipv4_is_reached_by_it(
    helper: Helper, engine: Any, host: Any, outside: Any, servers: Any
) -> None:
    container = engine.container(engine.network("six", ipv4=False, ipv6=True))
    servers.start(container, 80)
    helper.publish(engine, container, WEB)
    assert container.endpoint.ipv4 == ""
    assert host.reaches("127.0.0.1", 8080)
    assert outside.call(outside.host, 8080) == container.endpoint.ipv6_gateway
    assert outside.call(outside.host6, 8080) == outside.address6


def _echo(listener: socket.socket) -> None:
    """Send everything back, slowly beginning, until the client has no more to say."""
    connection, _ = listener.accept()
    with connection:
        whole = bytearray()
        while data := connection.recv(1 << 16):
            whole += data
        connection.sendall(whole)


@pytest.fixture
def echoing() -> Iterator[Callable[[Any, int], None]]:
    threads: list[threading.Thread] = []

    def start(container: Any, port: int) -> None:
        listener = container.run(lambda: socket.create_server(("", port)))
        threads.append(threading.Thread(target=_echo, args=(listener,)))
        threads[-1].start()
        listeners.append(listener)

    listeners: list[socket.socket] = []
    yield start
    for thread in threads:
        thread.join(_LONG)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


def test_much_is_passed_on_whole_and_each_side_may_end_first(
    helper: Helper, engine: Any, host: Any, echoing: Callable[[Any, int], None]
) -> None:
    container = engine.container()
    echoing(container, 80)
    helper.publish(engine, container, WEB)
    whole = os.urandom(1 << 20) * 16
    with socket.create_connection(("::1", 8080), _LONG) as one:
        one.sendall(whole)
        one.shutdown(socket.SHUT_WR)
        came = bytearray()
        while data := one.recv(1 << 20):
            came += data
    assert came == whole


def test_a_port_without_a_server_ends_the_connection(
    helper: Helper, engine: Any, host: Any
) -> None:
    helper.publish(engine, engine.container(), WEB)
    with socket.create_connection(("::1", 8080), _LONG) as one:
        assert one.recv(1) == b""


def test_ports_go_on_without_an_engine_and_are_taken_up_by_the_next(
    helper: Helper, engine: Any, host: Any, servers: Any
) -> None:
    container = engine.container()
    servers.start(container, 80)
    helper.publish(engine, container, WEB)
    pid = helper_pid()
    helper.client.close()
    assert host.reaches("::1", 8080)
    helper.successor()
    assert host.reaches("::1", 8080)
    assert helper_pid() == pid


def test_a_helper_that_was_killed_is_replaced(
    helper: Helper, engine: Any, host: Any, servers: Any
) -> None:
    container = engine.container()
    servers.start(container, 80)
    helper.publish(engine, container, WEB)
    os.kill(helper_pid(), signal.SIGKILL)
    identity = container.endpoint.container_id
    helper.client.listen(identity, helper.told[identity][1])  # returns when there is a new one
    assert host.reaches("::1", 8080)


def test_a_port_that_is_given_back_is_free(
    helper: Helper, engine: Any, host: Any, servers: Any
) -> None:
    container = engine.container()
    servers.start(container, 80)
    helper.publish(engine, container, WEB, DNS)
    identity = container.endpoint.container_id
    _, ports = helper.told[identity]
    helper.client.unlisten(identity, [one.port for one in ports if one.port.protocol == "tcp"])
    socket.create_server(("::1", 8080), family=socket.AF_INET6).close()
    with pytest.raises(OSError, match="in use"):
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(("::1", 5353))
    helper.client.unlisten(identity)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        one.bind(("::1", 5353))


def test_without_an_engine_a_port_is_free_when_its_container_ends(
    helper: Helper, engine: Any, host: Any
) -> None:
    helper.publish(engine, engine.container(), WEB)
    ended = os.pidfd_open(helper_pid())
    helper.client.close()
    helper.end_processes()
    assert os.waitid(os.P_PIDFD, ended, os.WEXITED | os.WNOWAIT)
    os.close(ended)
    socket.create_server(("::1", 8080), family=socket.AF_INET6).close()


def test_a_port_leads_elsewhere(helper: Helper, engine: Any, host: Any, servers: Any) -> None:
    first, second = engine.container(), engine.container(engine.network("other"))
    servers.start(second, 80)
    helper.publish(engine, first, WEB)
    _, ports = helper.told[first.endpoint.container_id]
    moved = engine.networks.listening(second.endpoint, [one.port for one in ports])
    helper.client.listen(first.endpoint.container_id, moved)
    assert host.call("::1", 8080) == f"::ffff:{second.endpoint.gateway}"
