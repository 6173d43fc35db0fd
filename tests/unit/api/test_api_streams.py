"""Endpoints that stream or take the connection over: wait, attach, exec, events, build."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from typing import Any

import msgspec
import pytest

from wherry.api.frames import frame
from wherry.build.api import (
    BuildDone,
    BuildResult,
    PullStatus,
    StepFailed,
    StepOutput,
    StepStarted,
)
from wherry.engine.records import Event, ExecOptions, State, WaitResult
from wherry.errors import Conflict
from wherry.model.container import ContainerConfig
from wherry.model.digest import Digest
from wherry.runtime.api import CommandNotFound

_IMAGE = Digest("sha256:" + "a" * 64)


# --- wait --------------------------------------------------------------------------------------


def _begin(api: Any, wire: Any, head: str) -> tuple[socket.socket, bytes]:
    """Send a request and read the head of its answer, no more."""
    sock = api.running.connect()
    sock.sendall(head.replace("\n", "\r\n").encode())
    return sock, wire.read_head(sock)


def test_wait_sends_its_head_at_once(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add()
    sock, head = _begin(api, wire, "POST /containers/c1/wait?condition=next-exit HTTP/1.1\n\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert engine.containers.calls == [("wait", "1" * 64, "next-exit")]
    engine.containers.waits[0].set_result(WaitResult(exit_code=3))
    assert b'{"StatusCode":3}' in sock.recv(1000)


def test_wait_is_given_up_with_its_client(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add()
    sock, _ = _begin(api, wire, "POST /containers/c1/wait HTTP/1.1\n\n")
    sock.close()
    api.running.until(engine.containers.waits[0].cancelled)


def test_wait_tells_errors(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add()
    assert api.call("POST", "/containers/nosuch/wait")[0] == 404
    status, body, _ = api.call("POST", "/containers/c1/wait?condition=never")
    assert (status, body["message"]) == (400, 'invalid condition: "never"')
    sock, _ = _begin(api, wire, "POST /containers/c1/wait HTTP/1.1\n\n")
    engine.containers.waits[0].set_result(WaitResult(exit_code=1, error="it broke"))
    assert b'{"StatusCode":1,"Error":{"Message":"it broke"}}' in sock.recv(1000)


# --- attach and exec ---------------------------------------------------------------------------

_UPGRADE = "Connection: Upgrade\nUpgrade: tcp\n"


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("/v1.41", False, b"application/vnd.docker.raw-stream"),
        ("/v1.42", False, b"application/vnd.docker.multiplexed-stream"),
        ("", False, b"application/vnd.docker.multiplexed-stream"),
        ("", True, b"application/vnd.docker.raw-stream"),
    ],
)
def test_attach_upgrades(
    api: Any, engine: Any, wire: Any, version: str, tty: bool, kind: bytes
) -> None:
    engine.containers.add(config=ContainerConfig(image="x", tty=tty))
    target = f"{version}/containers/c1/attach?stream=1&stdout=1&stderr=1"
    sock, head = _begin(api, wire, f"POST {target} HTTP/1.1\n{_UPGRADE}\n")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert b"Content-Type: " + kind + b"\r\n" in head
    assert b"Upgrade: tcp\r\n" in head
    far = engine.containers.streams["1" * 64]
    far.sendall(frame("stdout", b"hello"))
    far.close()
    assert wire.read_all(sock) == b"\1\0\0\0\0\0\0\5hello"
    assert engine.containers.calls == [("attach", "1" * 64, False, True, True)]


def test_old_clients_get_200_and_the_stream(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add(config=ContainerConfig(image="x", open_stdin=True))
    sock, head = _begin(
        api, wire, "POST /containers/c1/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\n\n"
    )
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    far = engine.containers.streams["1" * 64]
    sock.sendall(b"typed")
    sock.shutdown(socket.SHUT_WR)
    assert wire.read_all(far) == b"typed"
    far.close()
    assert wire.read_all(sock) == b""


def test_input_needs_an_open_standard_input(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add()
    _begin(api, wire, f"POST /containers/c1/attach?stream=1&stdin=1 HTTP/1.1\n{_UPGRADE}\n")
    assert engine.containers.calls == [("attach", "1" * 64, False, False, False)]


def test_attach_errors_come_before_the_upgrade(api: Any, engine: Any) -> None:
    engine.containers.add()
    assert api.call("POST", "/containers/nosuch/attach?stream=1")[0] == 404
    assert api.call("POST", "/containers/c1/attach?stream=1&detachKeys=zz")[0] == 400
    engine.containers.failure = Conflict("container is paused")
    assert api.call("POST", "/containers/c1/attach?stream=1", Upgrade="tcp")[0] == 409


def test_detach_keys_on_a_terminal(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add(config=ContainerConfig(image="x", tty=True, open_stdin=True))
    target = "/containers/c1/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,d"
    sock, _ = _begin(api, wire, f"POST {target} HTTP/1.1\n{_UPGRADE}\n")
    sock.sendall(b"ls\x01d")
    assert wire.read_all(sock) == b""
    assert wire.read_all(engine.containers.streams["1" * 64]) == b"ls"


def test_websocket_attach(api: Any, engine: Any, wire: Any) -> None:
    engine.containers.add(config=ContainerConfig(image="x", open_stdin=True))
    key = base64.b64encode(b"0123456789abcdef").decode()
    sock, head = _begin(
        api,
        wire,
        "GET /containers/c1/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\n"
        "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"
        f"Sec-WebSocket-Key: {key}\n\n",
    )
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = hashlib.sha1((key + guid).encode()).digest()
    assert base64.b64encode(digest) in head
    far = engine.containers.streams["1" * 64]
    far.sendall(frame("stdout", b"out"))
    assert sock.recv(100) == b"\x82\x03out"
    sock.sendall(b"\x81\x82\0\0\0\0in")
    assert far.recv(100) == b"in"
    far.close()
    assert wire.read_all(sock) == b"\x88\x02\x03\xe8"


@pytest.fixture
def up(engine: Any) -> None:
    """A container that runs."""
    engine.containers.add(state=State(status="running"))


@pytest.mark.usefixtures("up")
def test_exec_from_create_to_exit_code(api: Any, engine: Any, wire: Any) -> None:
    body = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "Env": None, "User": "1"}
    status, made, _ = api.call("POST", "/containers/c1/exec", body)
    assert status == 201
    payload = json.dumps({"Detach": False, "Tty": False, "ConsoleSize": [24, 80]})
    sock, head = _begin(
        api,
        wire,
        f"POST /exec/{made['Id']}/start HTTP/1.1\n{_UPGRADE}Content-Type: application/json\n"
        f"Content-Length: {len(payload)}\n\n{payload}early ",
    )
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    api.running.until(lambda: engine.execs.stream is not None)
    assert engine.execs.started == [(made["Id"], False, (24, 80))]
    assert engine.execs.expected == [made["Id"]]
    sock.sendall(b"and late")
    sock.shutdown(socket.SHUT_WR)
    assert wire.read_all(engine.execs.stream) == b"early and late"
    engine.execs.stream.sendall(b"reply")
    engine.execs.stream.close()
    assert sock.recv(100) == b"reply"
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):  # the exit code cannot be asked for yet
        sock.recv(1)
    sock.settimeout(10)
    engine.execs.exit.set_result(0)
    assert sock.recv(1) == b""
    found = api.call("GET", f"/exec/{made['Id']}/json")[1]
    assert (found["ProcessConfig"]["entrypoint"], found["OpenStdin"]) == ("cat", True)
    assert found["ProcessConfig"]["user"] == "1"


@pytest.mark.usefixtures("up")
def test_exec_detached_and_its_errors(api: Any, engine: Any) -> None:
    made = api.call("POST", "/containers/c1/exec", {"Cmd": "date"})[1]
    assert engine.execs.get(made["Id"]).options.cmd == ("date",)
    start = f"/exec/{made['Id']}/start"
    assert api.call("POST", start, {"Detach": True})[:2] == (200, b"")
    assert api.call("POST", f"/exec/{made['Id']}/resize?h=2&w=3")[0] == 200
    assert engine.execs.sizes == [(made["Id"], 2, 3)]
    engine.execs.failure = CommandNotFound("no")
    assert api.call("POST", start, {"Detach": True})[0] == 400
    over = msgspec.structs.replace(engine.execs.get(made["Id"]), exit_code=1)
    engine.execs.records[made["Id"]] = over
    assert api.call("POST", start, {"Detach": False}, Upgrade="tcp")[0] == 409
    assert api.call("POST", "/exec/nosuch/start", {})[0] == 404
    assert api.call("POST", "/containers/c1/exec", {"Cmd": []})[0] == 400


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize("prompt", [False, True], ids=["waited for", "begun"])
def test_an_exec_that_cannot_run_says_so_on_its_stream(
    api: Any, engine: Any, wire: Any, prompt: bool
) -> None:
    engine.execs.prompt = prompt
    exec_id = engine.execs.create("c1", ExecOptions(cmd=("nosuch",), attach_stdout=True))
    engine.execs.failure = CommandNotFound('exec: "nosuch": executable file not found in $PATH')
    engine.execs.exit.set_result(127)
    sock, head = _begin(api, wire, f"POST /exec/{exec_id}/start HTTP/1.1\n{_UPGRADE}\n")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    text = wire.read_all(sock)
    assert text[0] == 1
    assert b"executable file not found" in text


# --- events ------------------------------------------------------------------------------------


def _event(number: int, action: str = "start", **more: Any) -> Event:
    members: dict[str, Any] = {
        "type": "container",
        "action": action,
        "actor_id": f"{number:x}" * 64,
        "attributes": {"image": "busybox", "name": f"c{number}"},
        "time_ns": time.time_ns() + number,
    }
    return Event(**(members | more))


def _next_event(sock: socket.socket) -> dict[str, Any]:
    size = b""
    while not size.endswith(b"\r\n"):
        size += sock.recv(1)
    data = b""
    while len(data) < int(size, 16) + 2:
        data += sock.recv(int(size, 16) + 2 - len(data))
    decoded: dict[str, Any] = json.loads(data)
    return decoded


def test_events_as_they_happen_until_the_client_leaves(api: Any, engine: Any, wire: Any) -> None:
    filters = '{"event":["start"],"container":["c1"]}'
    sock, _ = _begin(api, wire, f"GET /events?filters={filters} HTTP/1.1\n\n")
    for event in (_event(2), _event(1, "die"), _event(1)):
        engine.events.emit(event)
    got = _next_event(sock)
    assert (got["Type"], got["Action"], got["Actor"]["ID"]) == ("container", "start", "1" * 64)
    assert (got["status"], got["id"], got["from"]) == ("start", "1" * 64, "busybox")
    assert got["timeNano"] // 10**9 == got["time"]
    sock.close()
    api.running.until(lambda: not engine.events.callbacks)


def test_past_events_and_an_end(api: Any, engine: Any) -> None:
    engine.events.emit(_event(1, time_ns=5 * 10**9))
    engine.events.emit(_event(2, time_ns=7 * 10**9))
    engine.events.emit(_event(3, time_ns=9 * 10**9))
    status, body, _ = api.call("GET", "/events?since=6&until=8.5")
    assert status == 200
    assert body["Actor"]["ID"] == "2" * 64
    soon = time.time() + 0.2
    status, body, _ = api.call("GET", f"/events?until={soon}")
    assert status == 200
    assert len(body.splitlines()) == 3
    assert api.call("GET", "/events?since=yesterday")[0] == 400
    assert api.call("GET", '/events?filters={"nosuch":["x"]}')[0] == 400


# --- build -------------------------------------------------------------------------------------


def test_build_reads_its_parameters(api: Any, engine: Any) -> None:
    query = (
        "t=a:1&t=b&dockerfile=D&nocache=1&pull=1&rm=0&forcerm=1&q=0&memory=5&memswap=-1"
        '&buildargs={"A":"1","B":null}&labels={"l":"v"}&cachefrom=["x"]&target=final'
        "&networkmode=none&extrahosts=h:1.2.3.4&shmsize=9&hostca=1&platform=linux/amd64"
        '&ulimits=[{"Name":"nofile","Soft":1,"Hard":2}]&version=1'
    )
    config = base64.urlsafe_b64encode(b'{"reg": {"username": "me"}}').decode()
    status, _, _ = api.call("POST", f"/build?{query}", b"x" * 2_000_000, X_Registry_Config=config)
    assert status == 200
    asked = engine.builds.request
    assert (asked.tags, asked.dockerfile, asked.target) == (("a:1", "b"), "D", "final")
    assert (asked.no_cache, asked.pull, asked.remove, asked.force_remove) == (
        True,
        True,
        False,
        True,
    )
    assert (asked.memory, asked.memory_swap, asked.shm_size) == (5, -1, 9)
    assert asked.build_args == {"A": "1", "B": None}
    assert (asked.labels, asked.cache_from) == ({"l": "v"}, ("x",))
    assert (asked.network_mode, asked.extra_hosts) == ("none", ("h:1.2.3.4",))
    assert (asked.ulimits[0].name, asked.ulimits[0].hard) == ("nofile", 2)
    assert json.loads(asked.registry_config) == {"reg": {"username": "me"}}
    assert asked.host_ca is True
    assert len(engine.builds.context) == 2_000_000


def test_build_tells_its_steps(api: Any, engine: Any) -> None:
    def act(report: Any, cancelled: Any) -> BuildResult:
        report(StepStarted(1, 1, "FROM x"))
        report(PullStatus("Downloading", "abc", 1, 2))
        report(StepOutput("stdout", b"hi\xff\n"))
        report(BuildDone(_IMAGE))
        return BuildResult(image=_IMAGE)

    engine.builds.act = act
    _, body, _ = api.call("POST", "/build", b"")
    assert [json.loads(line) for line in body.splitlines()] == [
        {"stream": "Step 1/1 : FROM x\n"},
        {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "abc"},
        {"stream": "hi\ufffd\n"},
        {"aux": {"ID": _IMAGE}},
        {"stream": "Successfully built aaaaaaaaaaaa\n"},
    ]
    _, body, _ = api.call("POST", "/build?q=1", b"")
    assert [json.loads(line) for line in body.splitlines()] == [
        {"aux": {"ID": _IMAGE}},
        {"stream": f"{_IMAGE}\n"},
    ]


def test_a_failed_step_has_its_code(api: Any, engine: Any) -> None:
    def act(report: Any, cancelled: Any) -> BuildResult:
        report(StepStarted(1, 1, "RUN false"))
        raise StepFailed("The command returned a non-zero code: 1", 1)

    engine.builds.act = act
    _, body, _ = api.call("POST", "/build", b"")
    assert json.loads(body.splitlines()[-1]) == {
        "errorDetail": {"message": "The command returned a non-zero code: 1", "code": 1},
        "error": "The command returned a non-zero code: 1",
    }


@pytest.mark.parametrize("query", ["buildargs={", "labels=[]", "memory=much", "version=2"])
def test_bad_build_parameters(api: Any, query: str) -> None:
    assert api.call("POST", f"/build?{query}", b"x")[0] == 400


def test_a_build_is_cancelled_with_its_client(api: Any, engine: Any, wire: Any) -> None:
    ended = threading.Event()
    raised: list[BaseException] = []

    def act(report: Any, cancelled: Any) -> None:
        try:
            while True:
                report(StepOutput("stdout", b"x" * 1000))
        except BaseException as error:
            raised.append(error)
            assert cancelled.is_set()
            ended.set()
            raise

    engine.builds.act = act
    sock, _ = _begin(api, wire, "POST /build HTTP/1.1\nContent-Length: 0\n\n")
    sock.close()
    assert ended.wait(10)
    assert "closed the connection" in str(raised[0])


def test_a_context_that_breaks_off_is_an_error_for_the_builder(api: Any, engine: Any) -> None:
    reading, failed = threading.Event(), threading.Event()

    class Context:
        def __call__(self, request: Any, context: Any, progress: Any, cancelled: Any) -> None:
            reading.set()
            try:
                context.read()
            except Exception:
                failed.set()
                raise

    engine.builds.build = Context()
    sock = api.running.connect()
    sock.sendall(b"POST /build HTTP/1.1\r\nContent-Length: 1000\r\n\r\nsome")
    assert reading.wait(10)
    sock.close()
    assert failed.wait(10)
