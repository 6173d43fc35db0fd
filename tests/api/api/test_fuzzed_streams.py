"""Streams, builds, pulls, pushes and log-ins with parameters and bodies that nobody means.

Whatever comes, it is refused in one sentence, or what streams has the form that the API defines:
JSON objects a line with the members of their kind, or frames. Registries that are named do not
exist: their port is closed.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.patience import patience

pytestmark = pytest.mark.root
_PATIENCE = patience(60.0)
_LIMIT = 64 * 1024  # bytes of a stream that are looked at
_IDLE = 0.05  # seconds without anything: a stream that goes on has said what it had to say
_CLOSED = "127.0.0.1:1"

_FLAGS = st.sampled_from(("", "0", "1", "true", "false", "no", "x"))
_TIMES = st.sampled_from(("", "0", "1", "10m", "2020-01-01", "2020-01-01T00:00:00Z", "-5", "x"))
_NUMBERS = st.sampled_from(("", "0", "1", "-1", "all", "99999999999999999999", "1e9", "x"))
_FILTERS = st.sampled_from(
    ("", "{", "[]", "{}", '{"type":["container"]}', '{"event":{"start":true}}', '{"x":["y"]}',
     '{"label":["a=b"],"scope":["swarm"]}', '{"type":"container"}', "null", "[" * 500)
)  # fmt: skip
_TEXTS = st.one_of(
    st.sampled_from(("", "busybox", "UPPER", "a b", "..", "\0", "\n", "ctrl-a", "é")),
    st.text(max_size=12),
)  # fmt: skip
_JSON = st.sampled_from(
    (b"", b"{", b"null", b"[]", b"{}", b'"x"', b"\xff", b'{"Detach":true}', b'{"Tty":"x"}')
)


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    query: dict[str, st.SearchStrategy[str]]
    check: Callable[[bytes], None]
    body: st.SearchStrategy[bytes] | None = None
    header: str = ""


# --- what streams have -------------------------------------------------------------------------


def objects(data: bytes) -> list[dict[str, Any]]:
    """One on each line; the last may be cut off."""
    *whole, _ = data.split(b"\n")
    found = [json.loads(line) for line in whole if line.strip()]
    assert all(isinstance(one, dict) for one in found)
    return found


def are_events(data: bytes) -> None:
    for event in objects(data):
        assert {"Type", "Action", "Actor", "scope", "time", "timeNano"} <= set(event)
        assert set(event["Actor"]) == {"ID", "Attributes"}


def are_stats(data: bytes) -> None:
    for one in objects(data):
        assert {"id", "name", "read", "cpu_stats", "memory_stats", "pids_stats"} <= set(one)


def is_result(data: bytes) -> None:
    for one in objects(data):
        assert isinstance(one["StatusCode"], int)


def is_progress(data: bytes) -> None:
    known = {"stream", "status", "id", "progress", "progressDetail", "aux", "error", "errorDetail"}
    for one in objects(data):
        assert one
        assert set(one) <= known
        assert ("error" in one) is ("errorDetail" in one)


def are_frames(data: bytes) -> None:
    while len(data) >= 8:
        assert data[0] in (0, 1, 2)
        assert data[1:4] == bytes(3)
        data = data[8 + int.from_bytes(data[4:8], "big") :]


def is_anything(data: bytes) -> None:
    """A raw stream, or one document."""


_LOG = dict.fromkeys(("follow", "stdout", "stderr", "timestamps", "details"), _FLAGS)
_ATTACH = dict.fromkeys(("logs", "stream", "stdin", "stdout", "stderr"), _FLAGS)
_TAR = st.sampled_from(
    (b"", b"x", b"\0" * 1024, b"FROM busybox\n", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
)
_AUTH = st.sampled_from((b'{"serveraddress":"127.0.0.1:1","username":"a","password":"b"}',
    b'{"serveraddress":5}', b'{"serveraddress":"\\u0000"}', b'{"serveraddress":"http://[::1"}',
    b"", b"{", b"[]", b'"x"', b"\xff")
)  # fmt: skip
_BUILD = {
    "t": _TEXTS, "dockerfile": _TEXTS, "memory": _NUMBERS, "buildargs": _FILTERS, "q": _FLAGS,
    "labels": _FILTERS, "nocache": _FLAGS, "target": _TEXTS, "platform": _TEXTS, "version": _FLAGS,
    "cachefrom": _FILTERS, "networkmode": _TEXTS, "shmsize": _NUMBERS, "ulimits": _FILTERS,
}  # fmt: skip
OPERATIONS = {
    "events": Operation(
        "GET", "/events", {"since": _TIMES, "until": _TIMES, "filters": _FILTERS}, are_events
    ),
    "logs": Operation(
        "GET",
        "/containers/fuzz/logs",
        {**_LOG, "since": _TIMES, "until": _TIMES, "tail": _NUMBERS},
        are_frames,
    ),
    "logs of a terminal": Operation("GET", "/containers/tty/logs", {**_LOG}, is_anything),
    "stats": Operation(
        "GET", "/containers/fuzz/stats", {"stream": _FLAGS, "one-shot": _FLAGS}, are_stats
    ),
    "attach": Operation(
        "POST", "/containers/fuzz/attach", {**_ATTACH, "detachKeys": _TEXTS}, are_frames
    ),
    "attach by websocket": Operation(
        "GET", "/containers/fuzz/attach/ws", {**_ATTACH, "detachKeys": _TEXTS}, is_anything
    ),
    "wait": Operation("POST", "/containers/done/wait", {"condition": _TEXTS}, is_result),
    "exec": Operation("POST", "/exec/{exec}/start", {}, are_frames, _JSON),
    "build": Operation("POST", "/build", _BUILD, is_progress, _TAR),
    "pull": Operation(
        "POST",
        "/images/create",
        {
            "fromImage": st.one_of(_TEXTS.map(lambda t: f"{_CLOSED}/{t}"), st.just("UPPER")),
            "tag": _TEXTS,
            "platform": _TEXTS,
        },
        is_progress,
    ),
    "import": Operation(
        "POST",
        "/images/create",
        {"fromSrc": st.sampled_from(("-", "x", f"http://{_CLOSED}/x", "file:///etc/passwd")),
         "repo": st.sampled_from(("", "UPPER", "a b")), "message": _TEXTS},
        is_progress,
        _TAR.filter(lambda data: data != b"\0" * 1024),
    ),
    "push": Operation(
        "POST", f"/images/{_CLOSED}/x/push", {"tag": _TEXTS}, is_progress, header="{}"
    ),
    "log in": Operation("POST", "/auth", {}, is_anything, _AUTH),
}  # fmt: skip


# --- asking ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streaming(
    run_daemon: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    with run_daemon(tmp_path_factory.mktemp("streams")) as daemon:
        says = ["sh", "-c", "echo out; echo err >&2; sleep 1000"]
        for name, command, tty in (
            ("fuzz", says, False), ("execs", says, False), ("tty", says, True),
            ("done", ["true"], False),
        ):  # fmt: skip
            body = {"Image": "busybox", "Cmd": command, "Tty": tty}
            assert daemon.call("POST", f"/containers/create?name={name}", body)[0] == 201
            assert daemon.call("POST", f"/containers/{name}/start")[0] == 204
        assert daemon.call("POST", "/containers/done/wait")[0] == 200
        assert daemon.call("POST", f"/images/busybox/tag?repo={_CLOSED}/x")[0] == 201
        yield daemon


def _ask(daemon: Any, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, head, and what comes until it ends or pauses; what is chunked is put together."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(_PATIENCE)
        client.connect(daemon.socket_path)
        client.sendall(request)
        data = client.recv(65536)
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        status = int(data.split()[1])
        if status in (101, 200):
            client.settimeout(_IDLE)
        try:
            while len(data) < _LIMIT and (piece := client.recv(65536)):
                data += piece
        except TimeoutError:
            assert status in (101, 200)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    chunked = headers.get("transfer-encoding") == "chunked"
    return status, headers, _unchunked(body) if chunked else body


def _unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        found, data = found + rest[:length], rest[length + 2 :]
    return found


def _request(operation: Operation, path: str, query: dict[str, str], body: bytes | None) -> bytes:
    pairs = "&".join(f"{k}={quote(v.encode('utf-8', 'replace'))}" for k, v in query.items())
    head = f"{operation.method} {path}?{pairs} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    if operation.header:
        auth = base64.urlsafe_b64encode(operation.header.encode()).decode()
        head += f"X-Registry-Auth: {auth}\r\n"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def _check(operation: Operation, status: int, headers: dict[str, str], body: bytes) -> None:
    assert status != 500, body
    if status in (101, 200):
        if not headers.get("content-type", "").endswith("raw-stream"):
            operation.check(body)
    elif status >= 400:
        message = json.loads(body)["message"]
        assert message
        assert "Traceback" not in message
    else:
        assert status in (204, 304)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_stream_is_refused_or_has_its_form(streaming: Any, name: str) -> None:
    operation = OPERATIONS[name]

    @settings(
        max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        query=st.fixed_dictionaries({}, optional=operation.query),
        body=st.none() if operation.body is None else operation.body,
        version=st.sampled_from(("", "/v1.24", "/v1.41", "/v1.51")),
    )
    def attempt(query: dict[str, str], body: bytes | None, version: str) -> None:
        path = operation.path
        if "{exec}" in path:
            asked = {"Cmd": ["echo", "x"], "AttachStdout": True}
            made = streaming.call("POST", "/containers/execs/exec", asked)[1]
            path = path.replace("{exec}", json.loads(made)["Id"])
        request = _request(operation, version + path, query, body)
        _check(operation, *_ask(streaming, request))

    attempt()
    if name == "exec":  # or its server would wait for ten seconds for the next
        assert streaming.call("POST", "/containers/execs/kill")[0] == 204
    assert streaming.call("GET", "/_ping")[0] == 200
