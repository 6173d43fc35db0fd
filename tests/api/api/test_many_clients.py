"""Clients that are many, slow, silent or gone: nobody else waits, and nothing of them stays."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any

import pytest
from tests.patience import patience

pytestmark = pytest.mark.root
_PATIENCE = patience(60.0)
_FOLLOWERS = 500
_FIGURES = (
    "process_open_fds",
    "process_threads",
    "process_resident_memory_bytes",
    "wherry_http_requests_in_progress",
    "engine_daemon_events_subscribers_total",
)
_SPARE = 8  # descriptors of processes that the engine keeps in stock, which come and go
_POOL = 40  # threads that a pool keeps once they are made


@pytest.fixture(scope="module")
def crowded(
    run_daemon: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    with run_daemon(tmp_path_factory.mktemp("crowded")) as daemon:
        yield daemon


def _figures(daemon: Any) -> dict[str, float]:
    text = daemon.call("GET", "/metrics")[1].decode()
    found = {}
    for name in _FIGURES:
        match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert match, name
        found[name] = float(match[1])
    return found


def _until(daemon: Any, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Figures, as soon as they are as they should be."""
    deadline = time.monotonic() + _PATIENCE
    while not condition(figures := _figures(daemon)):
        assert time.monotonic() < deadline, figures
        time.sleep(0.05)  # nothing announces that the engine has seen its clients go
    return figures


def _idle(figures: dict[str, float]) -> bool:
    return figures["wherry_http_requests_in_progress"] == 1  # the one that asks


@pytest.fixture
def settled(crowded: Any) -> Iterator[None]:
    """Afterwards the engine holds what it held before."""
    _figures(crowded)  # so that what is made once is there
    before = _until(crowded, _idle)
    yield
    after = _until(
        crowded, lambda f: _idle(f) and f["process_open_fds"] <= before["process_open_fds"] + _SPARE
    )
    assert after["engine_daemon_events_subscribers_total"] == 0
    assert after["process_threads"] <= before["process_threads"] + _POOL


def _connect(daemon: Any, data: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(_PATIENCE)
    client.connect(daemon.socket_path)
    client.sendall(data)
    return client


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.fixture
def talker(crowded: Any) -> Iterator[str]:
    """A container that writes a line for each that it reads."""
    body = {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True}
    made = json.loads(crowded.call("POST", "/containers/create", body)[1])["Id"]
    assert crowded.call("POST", f"/containers/{made}/start")[0] == 204
    yield made
    assert crowded.call("DELETE", f"/containers/{made}?force=1")[0] == 204


def _say(daemon: Any, container: str, line: bytes) -> None:
    head = f"POST /containers/{container}/attach?stream=1&stdin=1 HTTP/1.1\r\nUpgrade: tcp\r\n\r\n"
    with closing(_connect(daemon, head.encode())) as client:
        assert b"101" in client.recv(4096)
        client.sendall(line)


def _read_until(client: socket.socket, text: bytes) -> None:
    seen = b""
    while text not in seen:
        piece = client.recv(65536)
        assert piece, seen
        seen = seen[-len(text) :] + piece


@pytest.mark.usefixtures("settled")
def test_hundreds_follow_logs_and_events_at_once(crowded: Any, talker: str) -> None:
    """More than a user may have inotify instances (128)."""
    logs = f"/containers/{talker}/logs?follow=1&stdout=1"
    with ExitStack() as stack:
        clients = []
        for number in range(_FOLLOWERS):
            client = _connect(crowded, _get("/events" if number % 2 else logs))
            clients.append(stack.enter_context(closing(client)))
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"
        assert crowded.call("GET", "/_ping")[0] == 200
        _say(crowded, talker, b"are you all there?\n")
        assert crowded.call("POST", f"/containers/{talker}/rename?name=renamed")[0] == 204
        for number, client in enumerate(clients):
            _read_until(client, b'"rename"' if number % 2 else b"are you all there?\n")
        figures = _figures(crowded)
        assert figures["wherry_http_requests_in_progress"] == _FOLLOWERS + 1
        assert figures["engine_daemon_events_subscribers_total"] == _FOLLOWERS / 2
        assert figures["process_threads"] < _FOLLOWERS / 4  # none for each


@pytest.mark.usefixtures("settled")
def test_bodies_and_heads_that_stall_delay_nobody(crowded: Any) -> None:
    beginnings = (
        b"GET /info HT",
        b"POST /containers/create HTTP/1.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{",
        b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"POST /images/load HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx",
        b"PUT /containers/none/archive?path=/ HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx",
    )
    with ExitStack() as stack:
        for _ in range(20):
            for data in beginnings:
                stack.enter_context(closing(_connect(crowded, data)))
        for path in ("/_ping", "/containers/json", "/images/json", "/info"):
            assert crowded.call("GET", path)[0] == 200
        made = crowded.call("POST", "/volumes/create", {"Name": "meanwhile"})
        assert made[0] == 201
        assert crowded.call("DELETE", "/volumes/meanwhile")[0] == 204


@pytest.mark.usefixtures("settled")
def test_clients_that_vanish_in_the_middle(crowded: Any, talker: str) -> None:
    attach = f"POST /containers/{talker}/attach?stream=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp\r\n\r\n"
    wait = f"POST /containers/{talker}/wait HTTP/1.1\r\n\r\n"
    for data in (
        attach.encode(),
        wait.encode(),
        _get(f"/containers/{talker}/stats"),
        _get(f"/containers/{talker}/logs?follow=1&stdout=1"),
        _get("/events"),
    ):
        for _ in range(20):
            with closing(_connect(crowded, data)) as client:
                assert client.recv(1)
        for _ in range(20):  # and without a look at the answer
            _connect(crowded, data).close()
    _until(crowded, _idle)


@pytest.mark.usefixtures("settled")
def test_a_client_that_does_not_read_fills_no_memory(crowded: Any) -> None:
    script = "yes 0123456789012345678901234567890123456789 | head -c 40000000; sleep 1000"
    body = {
        "Image": "busybox",
        "Cmd": ["sh", "-c", script],
        "HostConfig": {"LogConfig": {"Type": "local"}},
    }
    made = json.loads(crowded.call("POST", "/containers/create", body)[1])["Id"]
    try:
        before = _figures(crowded)["process_resident_memory_bytes"]
        paths = (f"/containers/{made}/logs?follow=1&stdout=1",)
        assert crowded.call("POST", f"/containers/{made}/start")[0] == 204
        with ExitStack() as stack:
            for path in paths * 4:
                stack.enter_context(closing(_connect(crowded, _get(path))))
            reader = stack.enter_context(closing(_connect(crowded, _get(paths[0]))))
            seen = 0
            while seen < 40_000_000:
                piece = reader.recv(1 << 20)
                assert piece
                seen += len(piece)
            after = _figures(crowded)["process_resident_memory_bytes"]
        assert after - before < 48 << 20  # of 160 MB that nobody has read
    finally:
        assert crowded.call("DELETE", f"/containers/{made}?force=1")[0] == 204
