"""Requests that nobody means: each operation with any parameters and bodies, on a real engine.

Whatever comes, the engine has a status of its own for it: never 500, and one sentence.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.patience import patience

from wherry.api.operations import OPERATIONS, Operation

pytestmark = pytest.mark.root
_PATIENCE = patience(60.0)

_ELSEWHERE = frozenset(
    ("ImageCreate", "ImagePush", "DistributionInspect", "SystemAuth", "WherryBootstrap")
)
"""These ask other machines."""

_NAMES = (
    "fuzz",
    "busybox",
    "bridge",
    "none",
    "x" * 300,
    "..",
    "a%00b",
    "%ff",
    "é",
    "0",
    "sha256:0",
)
_TEXTS = st.one_of(
    st.sampled_from(
        ("", "0", "1", "-1", "true", "99999999999999999999", "1e9", "\0", "\n", "/", "..", "{}",
         "[]", "null", '{"label":["a"]}', '{"label":{"a":true}}', '{"x":1}', '{"until":["x"]}',
         "[" * 2000, "container:fuzz", "host", "fuzz", "SIGNO", "15", "é", "busybox", "x:y:z")
    ),
    st.text(max_size=20),
)  # fmt: skip
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXTS,
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def fuzzed(
    run_daemon: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    with run_daemon(tmp_path_factory.mktemp("fuzzed")) as daemon:
        yield daemon
        for kind, key in (("networks", "Name"), ("volumes", "Name")):
            listed = json.loads(daemon.call("GET", f"/{kind}")[1])
            for item in listed["Volumes"] if kind == "volumes" else listed:
                daemon.call("DELETE", f"/{kind}/{quote(item[key], safe='')}")


@pytest.fixture(scope="module")
def description(fuzzed: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fuzzed.call("GET", "/openapi.json")[1])
    return found


def _members(description: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Names of a body's members, and of those below them."""
    name = schema.get("$ref", "").rpartition("/")[2]
    properties = description["components"]["schemas"].get(name, {}).get("properties", {})
    below = [m for inner in properties.values() for m in _members(description, inner)]
    return [*properties, *below]


def _path(operation: Operation, name: str) -> str:
    text = operation.path
    for parameter in ("{id}", "{name}"):
        text = text.replace(parameter, name if "%" in name else quote(name, safe=":"))
    return text


def _send(daemon: Any, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and, of an error, the body; streams are left alone."""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(_PATIENCE)
        client.connect(daemon.socket_path)
        client.sendall(head.encode() + b"Connection: close\r\n\r\n" + (body or b""))
        answer = client.recv(65536)
        status = int(answer.split()[1])
        while status >= 400 and (piece := client.recv(65536)):
            answer += piece
    return status, answer.partition(b"\r\n\r\n")[2]


def _check(method: str, target: str, status: int, answer: bytes) -> None:
    assert status != 500, (method, target, answer)
    if status < 400 or method == "HEAD":
        return
    if answer.startswith(b"400 Bad Request: "):  # what is no HTTP at all
        return
    message = json.loads(answer)["message"]
    assert message, (method, target)
    assert "Traceback" not in message


_GROUPS: dict[str, list[Operation]] = {}
for _operation in OPERATIONS.all:
    if _operation.name not in _ELSEWHERE:
        _GROUPS.setdefault(_operation.group, []).append(_operation)


@pytest.mark.parametrize("group", _GROUPS)
def test_no_request_is_a_failure_of_the_engine(
    fuzzed: Any, description: dict[str, Any], group: str
) -> None:
    asked = {"Image": "busybox", "Cmd": ["true"]}
    for operation in _GROUPS[group]:
        fuzzed.call("POST", "/containers/create?name=fuzz", asked)
        _fuzz(fuzzed, description, operation)
    assert fuzzed.call("GET", "/_ping")[0] == 200


def _fuzz(daemon: Any, description: dict[str, Any], operation: Operation) -> None:
    told = description["paths"][operation.path][operation.method.lower()]
    queries = [p["name"] for p in told["parameters"] if p["in"] == "query"]
    schema = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    members = sorted(set(_members(description, schema.get("schema", {}))))
    names = st.sampled_from((*members, "X")) if members else _TEXTS
    bodies = st.dictionaries(names, _JSON, max_size=4).map(lambda v: {"Image": "busybox", **v})

    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        name=st.sampled_from(_NAMES),
        query=st.dictionaries(st.sampled_from((*queries, "x")), _TEXTS, max_size=4),
        body=st.one_of(st.none(), bodies, _JSON),
        version=st.sampled_from(("", "/v1.24", "/v1.41", "/v1.51")),
    )
    def attempt(name: str, query: dict[str, str], body: Any, version: str) -> None:
        pairs = "&".join(f"{k}={quote(v.encode('utf-8', 'replace'))}" for k, v in query.items())
        target = f"{version}{_path(operation, name)}?{pairs}"
        data = None if operation.method == "GET" or body is None else json.dumps(body).encode()
        _check(operation.method, target, *_send(daemon, operation.method, target, data))

    attempt()


_BODIES = (
    b"",
    b"{",
    b"\xff\xfe",
    b"nul",
    b"[]",
    b'"x"',
    b"{}{}",
    b'{"Image": "\\ud800"}',
    b'{"a":' * 5000,
    b"[" * 200_000,
    b'{"Image": 1e999}',
    b'{"Image": "busybox", "HostConfig": []}',
    b'{"Image": "busybox", "HostConfig": {"Memory": 1e30}}',
    b'{"Image": "busybox\\u0000"}',
)


def test_bodies_that_are_not_what_they_should_be(fuzzed: Any) -> None:
    paths = ("/containers/create", "/networks/create", "/volumes/create", "/exec/x/start")
    for path, body in product(paths, _BODIES):
        status, answer = _send(fuzzed, "POST", path, body)
        _check("POST", path, status, answer)
        assert status in (201, 400, 404), (path, body[:40], answer)
