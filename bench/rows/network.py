"""Rows of networks: published ports, many of them, their speed, and an engine that restarts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from bench.engines.base import Engine
from bench.http import Api, ApiError
from bench.image import NAME
from bench.processes import kill_and_reap, wait_for
from bench.rows.base import Row

_NETWORK = "bench-network"
_PORT = "80/tcp"
_MANY, _PARALLEL = 100, 20
_STANDING = 200
_TRANSFER, _TRANSFERS = 4 << 20, 60  # bytes in a piece, and pieces
_TRIPS, _TURNS = 20, 200  # round trips in a piece, and pieces
_CHUNK = 1 << 20

# Runs in the container's network namespace: a client says how much it sends and how much it wants
# back for each time that much has come.
_SERVER = """
import os, socket, sys, threading
os.sched_setaffinity(0, {int(sys.argv[1])})
def serve(one):
    with one:
        one.setsockopt(6, 1, 1)
        size = int.from_bytes(one.recv(8, 256), "big")
        buffer = bytearray(min(size, 1 << 20))
        while True:
            left = size
            while left:
                got = one.recv_into(buffer, min(left, len(buffer)))
                if not got:
                    return
                left -= got
            one.sendall(b"x")
listener = socket.create_server(("", 80), backlog=64)
print(flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def _create(api: Api, network: str, published: bool) -> str:
    host: dict[str, object] = {"NetworkMode": network}
    if published:
        host["PortBindings"] = {_PORT: [{"HostPort": ""}]}
    body: dict[str, object] = {"Image": NAME, "Cmd": ["sleep", "3600"], "HostConfig": host}
    if published:
        body["ExposedPorts"] = {_PORT: {}}
    container = str(api.call("POST", "/containers/create", body)["Id"])
    api.start(container)
    return container


@contextmanager
def _api(engine: Engine) -> Iterator[Api]:
    """A connection for a moment: the engine may be another one in the next."""
    api = engine.api()
    try:
        yield api
    finally:
        api.close()


def _create_one(engine: Engine, network: str, published: bool) -> str:
    with _api(engine) as api:
        return _create(api, network, published)


def _remove_one(engine: Engine, container: str) -> None:
    with _api(engine) as api:
        api.remove(container)


def _remove_all(engine: Engine, containers: list[str]) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(lambda container: _remove_one(engine, container), containers))


@contextmanager
def _network(engine: Engine) -> Iterator[str]:
    with _api(engine) as api:
        api.call("POST", "/networks/create", {"Name": _NETWORK})
    try:
        yield _NETWORK
    finally:
        # What a failed sample left is in the way, and ends with the corner.
        with _api(engine) as api, suppress(ApiError):
            api.call("DELETE", f"/networks/{_NETWORK}")


@contextmanager
def _many(engine: Engine, network: str, count: int, *, published: bool) -> Iterator[None]:
    """Containers that run; none is left, also if some could not be started."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        asked = [pool.submit(_create_one, engine, network, published) for _ in range(count)]
    try:
        for one in asked:
            one.result()
        yield
    finally:
        of_network = quote(json.dumps({"network": [network]}))
        with _api(engine) as api:
            found = api.call("GET", f"/containers/json?all=1&filters={of_network}")
        _remove_all(engine, [one["Id"] for one in found])


class PublishedBurst(Row):
    """Create and start many containers of one user-defined network, each with a port."""

    key = "burst-published"
    title = f"{_MANY} starts on a user network with a published port, {_PARALLEL} at a time"
    unit = "/s"
    more_is_better = True
    target = 6.0
    rounds_at_most = 3

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[object]:
        with _network(engine) as name:
            yield name

    def sample(self, engine: Engine, setting: object) -> float:
        network = str(setting)
        started = time.perf_counter()
        with _many(engine, network, _MANY, published=True):
            return _MANY / (time.perf_counter() - started)


@dataclass(frozen=True)
class _Served:
    """A server in a container, by its own address and by the port of the host."""

    own: tuple[str, int]
    published: tuple[str, int]


@contextmanager
def _served(engine: Engine) -> Iterator[_Served]:
    container = _create_one(engine, "bridge", True)
    try:
        with _api(engine) as api:
            told = api.call("GET", f"/containers/{container}/json")
        enter = ("nsenter", "-t", str(told["State"]["Pid"]), "-n")
        command = [*enter, sys.executable, "-c", _SERVER, str(max(os.sched_getaffinity(0)))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                server.stdout.readline()
                yield _Served((_address(told), 80), ("127.0.0.1", _host_port(told)))
            finally:
                server.kill()
    finally:
        _remove_one(engine, container)


def _address(told: Any) -> str:
    return str(told["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def _host_port(told: Any) -> int:
    return int(told["NetworkSettings"]["Ports"][_PORT][0]["HostPort"])


def _connect(where: tuple[str, int], size: int) -> socket.socket:
    """A connection to the server, which answers each ``size`` bytes."""
    one = socket.create_connection(where, 60)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.sendall(size.to_bytes(8, "big"))
    return one


def _exchange(one: socket.socket, size: int, times: int) -> float:
    """Seconds to send ``size`` bytes and get an answer, so many times."""
    chunk = memoryview(bytes(min(size, _CHUNK)))
    started = time.perf_counter()
    for _ in range(times):
        for _ in range(size // len(chunk)):
            one.sendall(chunk)
        assert one.recv(1) == b"x"
    return time.perf_counter() - started


def _call(where: tuple[str, int]) -> None:
    """One round trip over a connection of its own."""
    with _connect(where, 1) as one:
        _exchange(one, 1, 1)


class PortSpeed(Row):
    """How much longer something takes through a published port of the host's own address than
    straight to the container.

    Over one connection each, in many small pieces that take turns, and of each the time that a
    quarter of its pieces kept below: what else the machine does makes a piece slower, never
    faster, and meets both alike. Client and server have a processor each, where there are two:
    the scheduler would put some pairs of them on one and others on two, for seconds on end, and a
    round trip takes several times as long on the one as on the other.
    """

    unit = "x"
    limit = 1.05

    def __init__(self, key: str, title: str, size: int, times: int, turns: int) -> None:
        self.key, self.title = key, title
        self._size, self._times, self._turns = size, times, turns
        self.rounds_at_most = 7

    def setting(self, engine: Engine) -> Any:
        return _served(engine)

    def sample(self, engine: Engine, setting: object) -> float:
        served = cast(_Served, setting)
        with (
            _on_first_processor(),
            _connect(served.own, self._size) as own,
            _connect(served.published, self._size) as published,
        ):
            taken: dict[socket.socket, list[float]] = {own: [], published: []}
            for turn in range(self._turns):
                for one in (own, published) if turn % 2 else (published, own):
                    taken[one].append(_exchange(one, self._size, self._times))
            return _lower_quartile(taken[published]) / _lower_quartile(taken[own])


@contextmanager
def _on_first_processor() -> Iterator[None]:
    """For this thread; the server in the container has the last."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _lower_quartile(values: list[float]) -> float:
    return sorted(values)[len(values) // 4]


PORT_THROUGHPUT = PortSpeed(
    "port-throughput",
    "published port: time of a transfer, against the own address",
    _TRANSFER,
    1,
    _TRANSFERS,
)
PORT_LATENCY = PortSpeed(
    "port-latency",
    "published port: time of a round trip, against the own address",
    1,
    _TRIPS,
    _TURNS,
)


class _SteadyClient:
    """Calls a published port again and again, in a thread; counts what fails."""

    def __init__(self, where: tuple[str, int]) -> None:
        self._where = where
        self._stopping = threading.Event()
        self.calls = self.failures = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.002):
            self.calls += 1
            try:
                _call(self._where)
            except (OSError, AssertionError):
                self.failures += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


class Restart(Row):
    """The engine is killed; until the next one answers. Its containers' ports must not notice."""

    key = "restart"
    title = f"restart with {_STANDING} running containers, until the API answers"
    limit = 1000.0
    rounds_at_most = 5

    def suits(self, engine: Engine) -> bool:
        return engine.outlived

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[object]:
        with (
            _network(engine) as name,
            _served(engine) as served,
            _many(engine, name, _STANDING - 1, published=False),
        ):
            yield served

    def sample(self, engine: Engine, setting: object) -> float:
        client = _SteadyClient(cast(_Served, setting).published)
        try:
            wait_for(lambda: client.calls > 0, "the first call of a port")
            assert engine.process is not None
            kill_and_reap(engine.process)
            started = time.perf_counter()
            engine.start_process()
            elapsed = time.perf_counter() - started
        finally:
            client.stop()
        assert not client.failures, f"{client.failures} of {client.calls} calls failed"
        return elapsed * 1000
