"""Logs over real files: chosen lines, frames, times, following."""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.api.frames import frame
from wherry.engine.records import State, WaitResult
from wherry.model.container import ContainerConfig
from wherry.runtime.api import LogSettings
from wherry.runtime.logs.reader import LogReader
from wherry.runtime.logs.writer import open_writer

_SECOND = 10**9


class Log:
    """A container's log and what its monitor would do."""

    def __init__(self, path: Path, engine: Any) -> None:
        self.settings = LogSettings(driver="local", path=str(path / "log"))
        self._writer = open_writer(self.settings)
        engine.containers.logs = lambda ref: LogReader(self.settings)

    def write(
        self, data: bytes, *, stream: int = 1, seconds: int = 1, partial: bool = False
    ) -> None:
        assert self._writer is not None
        self._writer.write(stream, [(seconds * _SECOND, data, partial)])


@pytest.fixture
def log(tmp_path: Path, engine: Any) -> Log:
    return Log(tmp_path, engine)


@pytest.fixture
def three_lines(log: Log, engine: Any) -> None:
    engine.containers.add()
    log.write(b"one\n", seconds=1)
    log.write(b"oops\n", stream=2, seconds=2)
    log.write(b"two\n", seconds=3)


_ONE, _OOPS, _TWO = frame("stdout", b"one\n"), frame("stderr", b"oops\n"), frame("stdout", b"two\n")


def test_the_log_of_a_command_that_has_just_started_has_what_it_prints(
    api: Any, log: Log, engine: Any
) -> None:
    """It ends while the request is served; a clock in the future keeps the test from its limit."""
    state = State(status="running", started_ns=time.time_ns() + 3600 * _SECOND)
    engine.containers.add(state=state)

    def ends(ref: str) -> Future[WaitResult]:
        log.write(b"late\n")
        future: Future[WaitResult] = Future()
        future.set_result(WaitResult(exit_code=0))
        return future

    engine.containers.wait = ends
    assert api.call("GET", "/containers/c1/logs?stdout=1")[1] == frame("stdout", b"late\n")


def test_a_container_that_goes_on_holds_its_log_back_for_a_moment_only(
    api: Any, log: Log, engine: Any
) -> None:
    state = State(status="running", started_ns=time.time_ns() + 3600 * _SECOND)
    engine.containers.add(state=state)
    log.write(b"first\n")
    assert api.call("GET", "/containers/c1/logs?stdout=1")[1] == frame("stdout", b"first\n")
    assert engine.containers.waits[-1].cancelled()


@pytest.mark.usefixtures("three_lines")
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("stdout=1&stderr=1", _ONE + _OOPS + _TWO),
        ("stdout=1", _ONE + _TWO),
        ("stderr=1", _OOPS),
        ("stdout=1&stderr=1&tail=2", _OOPS + _TWO),
        ("stdout=1&stderr=1&tail=all", _ONE + _OOPS + _TWO),
        ("stdout=1&stderr=1&tail=-1", _ONE + _OOPS + _TWO),
        ("stdout=1&stderr=1&tail=0", b""),
        ("stdout=1&stderr=1&since=2", _OOPS + _TWO),
        ("stdout=1&stderr=1&since=2&until=2.5", _OOPS),
        ("stdout=1&follow=1", _ONE + _TWO),  # the container does not run
    ],
)
def test_which_lines(api: Any, query: str, wanted: bytes) -> None:
    status, body, headers = api.call("GET", f"/containers/c1/logs?{query}")
    assert (status, body) == (200, wanted)
    assert headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"


@pytest.mark.usefixtures("three_lines")
def test_no_stream_is_an_error(api: Any) -> None:
    status, body, _ = api.call("GET", "/containers/c1/logs")
    assert status == 400
    assert body["message"] == "Bad parameters: you must choose at least one stream"


def test_times_stand_at_the_beginning_of_lines_only(api: Any, log: Log, engine: Any) -> None:
    engine.containers.add(config=ContainerConfig(image="x", tty=True))
    log.write(b"a" * 10, seconds=1, partial=True)
    log.write(b"b\n", seconds=1)
    log.write(b"c\r\n", seconds=2)
    _, body, headers = api.call("GET", "/containers/c1/logs?stdout=1&timestamps=1")
    assert body == (
        b"1970-01-01T00:00:01.000000000Z aaaaaaaaaab\n1970-01-01T00:00:02.000000000Z c\r\n"
    )
    assert headers["Content-Type"] == "application/vnd.docker.raw-stream"


def _read(sock: socket.socket, size: int) -> bytes:
    """The payload of the next chunks, ``size`` bytes of it."""
    data = b""
    while len(data) < size:
        line = b""
        while not line.endswith(b"\r\n"):
            line += sock.recv(1)
        left = int(line, 16)
        if not left:
            return data
        piece = b""
        while len(piece) < left + 2:
            piece += sock.recv(left + 2 - len(piece))
        data += piece[:-2]
    return data


def _follow(api: Any, wire: Any, query: str = "") -> socket.socket:
    sock: socket.socket = api.running.connect()
    target = f"/containers/c1/logs?stdout=1&follow=1{query}"
    sock.sendall(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
    assert wire.read_head(sock).startswith(b"HTTP/1.1 200")
    return sock


def test_following_until_the_container_ends(api: Any, log: Log, engine: Any, wire: Any) -> None:
    container = engine.containers.add(state=State(status="running"))
    log.write(b"before\n")
    sock = _follow(api, wire)
    assert _read(sock, 15) == frame("stdout", b"before\n")
    engine.containers.waits[0].set_result(WaitResult(exit_code=1))  # it is restarted
    api.running.until(lambda: len(engine.containers.waits) == 2)
    log.write(b"after\n")
    assert _read(sock, 14) == frame("stdout", b"after\n")
    log.write(b"last\n")
    ended = msgspec.structs.replace(container, state=State(status="exited"))
    engine.containers.records[container.id] = ended
    engine.containers.waits[1].set_result(WaitResult(exit_code=0))
    assert _read(sock, 13) == frame("stdout", b"last\n")
    assert wire.read_all(sock) == b"0\r\n\r\n"


def test_following_ends_with_its_client(api: Any, log: Log, engine: Any, wire: Any) -> None:
    engine.containers.add(state=State(status="running"))
    sock = _follow(api, wire)
    sock.close()
    api.running.until(engine.containers.waits[0].cancelled)


def test_following_until_a_moment(api: Any, log: Log, engine: Any, wire: Any) -> None:
    engine.containers.add(state=State(status="running"))
    log.write(b"now\n")
    sock = _follow(api, wire, f"&until={time.time() + 0.3}")
    assert _read(sock, 12) == frame("stdout", b"now\n")
    assert wire.read_all(sock) == b"0\r\n\r\n"


def test_attach_repeats_the_log_first(api: Any, log: Log, engine: Any, wire: Any) -> None:
    engine.containers.add()
    log.write(b"old\n")
    log.write(b"err\n", stream=2)
    sock = api.running.connect()
    sock.sendall(b"POST /containers/c1/attach?logs=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp\r\n\r\n")
    assert wire.read_head(sock).startswith(b"HTTP/1.1 101")
    assert wire.read_all(sock) == frame("stdout", b"old\n")


def test_a_websocket_repeats_the_log_first(api: Any, log: Log, engine: Any, wire: Any) -> None:
    engine.containers.add()
    log.write(b"old\n")
    sock = api.running.connect()
    sock.sendall(
        b"GET /containers/c1/attach/ws?logs=1&stdout=1 HTTP/1.1\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    assert wire.read_head(sock).startswith(b"HTTP/1.1 101")
    assert wire.read_all(sock) == b"\x82\x04old\n" + b"\x88\x02\x03\xe8"


def test_each_line_has_a_frame_of_its_own(api: Any, engine: Any, log: Log) -> None:
    """Users of docker-py's streams take what comes at once for a line."""
    engine.containers.add()
    log.write(b"one\n\ntwo\nrest")
    log.write(b"x" * 300 + b"\n" + b"y" * 300 + b"\n")
    _, body, _ = api.call("GET", "/containers/c1/logs?stdout=1")
    lines = (b"one\n", b"\n", b"two\n", b"rest", b"x" * 300 + b"\n", b"y" * 300 + b"\n")
    assert body == b"".join(frame("stdout", line) for line in lines)


def test_times_and_lines_that_come_together(api: Any, engine: Any, log: Log) -> None:
    engine.containers.add()
    log.write(b"one\ntwo\n")
    _, body, _ = api.call("GET", "/containers/c1/logs?stdout=1&timestamps=1")
    assert body == frame("stdout", b"1970-01-01T00:00:01.000000000Z one\n") + frame(
        "stdout", b"1970-01-01T00:00:01.000000001Z two\n"
    )
