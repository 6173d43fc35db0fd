"""Every filter of the list of containers, on two containers that differ in all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def pair(daemon: Any) -> Iterator[dict[str, str]]:
    """``one`` was never started and exposes ports; ``two`` came later, has ended with 3, a volume
    and a label."""
    daemon.call("POST", "/volumes/create", {"Name": "filtered"})
    bodies: dict[str, dict[str, Any]] = {
        "one": {
            "Cmd": ["true"],
            "ExposedPorts": {"80/tcp": {}, "5000/udp": {}},
            "HostConfig": {"NetworkMode": "bridge"},
        },
        "two": {
            "Cmd": ["sh", "-c", "exit 3"],
            "Labels": {"kind": "second", "empty": ""},
            "HostConfig": {"NetworkMode": "none", "Binds": ["filtered:/data"]},
        },
    }
    ids = {}
    for name, body in bodies.items():
        path = f"/containers/create?name=filtered-{name}"
        ids[name] = json.loads(daemon.call("POST", path, {"Image": "busybox", **body})[1])["Id"]
    daemon.call("POST", f"/containers/{ids['two']}/start")
    daemon.call("POST", f"/containers/{ids['two']}/wait")
    yield ids
    for container in ids.values():
        daemon.call("DELETE", f"/containers/{container}?v=1")
    assert daemon.call("DELETE", "/volumes/filtered")[0] == 204


def listed(daemon: Any, filters: dict[str, list[str]]) -> tuple[int, Any]:
    query = quote(json.dumps(filters))
    status, body = daemon.call("GET", f"/containers/json?all=1&filters={query}")
    return status, json.loads(body)


def names(daemon: Any, filters: dict[str, list[str]]) -> set[str]:
    status, found = listed(daemon, filters)
    assert status == 200, found
    own = {one["Names"][0].removeprefix("/filtered-") for one in found}
    return {name for name in own if name in ("one", "two")}


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"name": ["filtered-o"]}, {"one"}),
        ({"name": ["^/filtered-two$"]}, {"two"}),
        ({"label": ["kind"]}, {"two"}),
        ({"label": ["kind=second", "empty="]}, {"two"}),
        ({"label": ["kind=first"]}, set()),
        ({"status": ["created"]}, {"one"}),
        ({"status": ["created", "exited"]}, {"one", "two"}),
        ({"status": ["running"]}, set()),
        ({"exited": ["3"]}, {"two"}),
        ({"exited": ["0"]}, set()),
        ({"ancestor": ["busybox"]}, {"one", "two"}),
        ({"ancestor": ["nosuch"]}, set()),
        ({"before": ["filtered-two"]}, {"one"}),
        ({"since": ["filtered-one"]}, {"two"}),
        ({"network": ["bridge"]}, {"one"}),
        ({"volume": ["filtered"]}, {"two"}),
        ({"volume": ["/data"]}, {"two"}),
        ({"expose": ["80"]}, {"one"}),
        ({"expose": ["80/udp"]}, set()),
        ({"expose": ["4000-6000/udp"]}, {"one"}),
        ({"publish": ["80"]}, set()),
        ({"health": ["none"]}, {"one", "two"}),
        ({"health": ["healthy"]}, set()),
        ({"is-task": ["false"]}, {"one", "two"}),
        ({"is-task": ["true"]}, set()),
        ({"isolation": ["default"]}, {"one", "two"}),
        ({"status": ["exited"], "label": ["kind"]}, {"two"}),
        ({"status": ["created"], "label": ["kind"]}, set()),
    ],
)
def test_each(daemon: Any, pair: dict[str, str], filters: Any, wanted: set[str]) -> None:
    assert names(daemon, filters) == wanted


def test_by_id(daemon: Any, pair: dict[str, str]) -> None:
    for name, container in pair.items():
        assert names(daemon, {"id": [container[:12]]}) == {name}


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"colour": ["red"]}, "invalid filter 'colour'"),
        ({"status": ["asleep"]}, "invalid filter 'status=asleep'"),
        ({"exited": ["often"]}, "invalid filter 'exited"),
        ({"expose": ["http"]}, "invalid port in a filter: 'http'"),
        ({"name": ["("]}, "invalid filter 'name'"),
        ({"is-task": ["perhaps"]}, "invalid filter 'is-task"),
    ],
)
def test_what_is_no_filter(daemon: Any, filters: Any, words: str) -> None:
    status, found = listed(daemon, filters)
    assert status == 400
    assert words in found["message"]


def test_others_that_are_not_there(daemon: Any) -> None:
    for name in ("before", "since"):
        status, found = listed(daemon, {name: ["nosuch"]})
        assert (status, found["message"]) == (404, "No such container: nosuch")
