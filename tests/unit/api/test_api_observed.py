"""Figures, request ids, log lines, and the API's description of itself."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from wherry.api import routes
from wherry.api.operations import OPERATIONS, operation_of, starred
from wherry.api.parameters import parameters
from wherry.api.requests import Histogram, request_id
from wherry.api.routes import all_routes
from wherry.daemon import logs

_SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')


def _page(api: Any) -> dict[str, float]:
    """The samples of ``GET /metrics``, by name and labels as they stand."""
    status, body, headers = api.call("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kinds.setdefault(name, kind) == kind
        elif not line.startswith("# HELP "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            family = re.sub("_(bucket|sum|count)$", "", match[1])
            assert match[1] in kinds or kinds[family] == "histogram", line
            assert line.rpartition(" ")[0] not in found
            found[line.rpartition(" ")[0]] = float(match[3])
    return found


def test_requests_are_counted_and_timed_by_operation(api: Any, engine: Any) -> None:
    engine.containers.add(name="one")
    for _ in range(3):
        api.call("GET", "/containers/one/json")
    api.call("POST", "/containers/one/start")
    api.call("GET", "/containers/none/json")
    api.call("BREW", "/coffee")
    page = _page(api)
    counted = 'wherry_http_requests_total{method="GET",operation="ContainerInspect",status="%d"}'
    assert (page[counted % 200], page[counted % 404]) == (3, 1)
    assert page['wherry_http_requests_total{method="",operation="",status="404"}'] == 1
    assert page['wherry_http_request_seconds_count{operation="ContainerInspect"}'] == 4
    assert page['wherry_http_request_seconds_bucket{operation="ContainerInspect",le="+Inf"}'] == 4
    assert page['engine_daemon_container_actions_seconds_count{action="start"}'] == 1
    assert page["wherry_http_requests_in_progress"] == 1


def test_containers_are_counted_by_state(api: Any, engine: Any) -> None:
    engine.containers.add(name='a "name"')
    page = _page(api)
    states = [page[f'engine_daemon_container_states_containers{{state="{state}"}}'] for state in (
        "running", "paused", "stopped",
    )]  # fmt: skip
    assert sum(states) == 1
    assert page["process_open_fds"] > 3
    assert page["process_resident_memory_bytes"] > 1 << 20


def test_a_histogram_counts_what_took_no_longer() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.005, 0.3, 99):
        histogram.add(seconds)
    counts = dict(histogram.cumulative())
    assert (counts["0.005"], counts["0.25"], counts["0.5"], counts["+Inf"]) == (2, 2, 3, 4)


@pytest.mark.parametrize("path", ["/_ping", "/nosuch", "/containers/none/json", "/events?until=1"])
def test_each_answer_has_an_id(api: Any, path: str) -> None:
    own = api.call("GET", path)[2]["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{16}", own)
    assert api.call("GET", path)[2]["X-Request-Id"] != own
    assert api.call("GET", path, X_Request_Id="from-me.1")[2]["X-Request-Id"] == "from-me.1"
    other = api.call("GET", path, X_Request_Id="no spaces, please")[2]["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{16}", other)


def test_log_lines_of_a_request_have_its_id_in_threads_too(
    api: Any, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    engine.containers.start = lambda ref: seen.append(request_id.get())
    api.call("POST", "/containers/x/start", X_Request_Id="abc")
    assert seen == ["abc"]


def test_both_forms_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    before = logging.root.handlers[:], logging.root.level, logging.raiseExceptions
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    token = request_id.set("r1")
    try:
        logs.set_up("info", debug=False, form="json")
        logging.getLogger("wherry.x").warning('said "%s"\n', "this")
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("wherry.x").exception("failed")
        logs.set_up("info", debug=False)
        logging.getLogger("wherry.x").info("plain")
    finally:
        request_id.reset(token)
        logging.root.handlers[:], level, logging.raiseExceptions = before
        logging.root.setLevel(level)
    first, second, third = stream.getvalue().splitlines()
    told = json.loads(first)
    assert (told["level"], told["logger"], told["request"]) == ("warning", "wherry.x", "r1")
    assert told["message"] == 'said "this"\n'
    assert "ValueError: bad" in json.loads(second)["error"]
    assert third.endswith("INFO wherry.x: plain [request r1]")


# --- the description ---------------------------------------------------------------------------


def test_each_route_is_an_operation_and_each_operation_a_route() -> None:
    served = {(route.method, starred(route.path)) for route in all_routes()}
    for route in all_routes():
        assert operation_of(route.method, route.path) is not None, route
    heads = {("HEAD", o.path) for o in OPERATIONS.all if o.method == "HEAD"}
    missing = {place for place in OPERATIONS.by_place if place not in served} - heads
    assert missing == set()
    names = [operation.name for operation in OPERATIONS.all]
    assert len(names) == len(set(names))


_READERS = frozenset(("flag", "number", "json_parameter", "_size", "_moment", "_time", "parameter"))


def _names_read(path: Path) -> set[str]:
    """Texts that handlers ask the query for."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            place = {"value": 0}.get(name, 1 if name in _READERS else None)
            if place is not None and len(node.args) > place:
                argument = node.args[place]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    found.add(argument.value)
    return found


def test_what_handlers_read_is_described() -> None:
    directory = Path(routes.__file__).parent
    read = set().union(*map(_names_read, directory.glob("*.py")))
    told = {name for query in parameters().values() for name in query}
    assert read - told == set()
    assert set(parameters()) <= {operation.name for operation in OPERATIONS.all}


def test_the_description_describes_all_that_is_served(api: Any) -> None:
    status, body, headers = api.call("GET", "/v1.51/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    document = json.loads(body) if isinstance(body, bytes) else body
    assert document["openapi"] == "3.1.0"
    for operation in OPERATIONS.all:
        told = document["paths"][operation.path][operation.method.lower()]
        assert told["operationId"] == operation.name
    create = document["paths"]["/containers/create"]["post"]["requestBody"]["content"]
    schema = create["application/json"]["schema"]["$ref"].rpartition("/")[2]
    members = document["components"]["schemas"][schema]["properties"]
    assert {"Image", "Cmd", "HostConfig", "NetworkingConfig"} <= set(members)
    _, text, headers = api.call("GET", "/openapi.yaml")
    assert headers["Content-Type"] == "application/yaml"
    assert json.loads(text) == document


def test_references_of_the_description_lead_somewhere(api: Any) -> None:
    text = api.call("GET", "/openapi.yaml")[1].decode()
    names = set(json.loads(text)["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= names
