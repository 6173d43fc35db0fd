"""Each operation of the Engine API answers: what is served, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.model.digest import digest_of

_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect'
    " this node to swarm and try again."
)
_OF_A_SWARM = """
GET /nodes, GET /nodes/x, DELETE /nodes/x, POST /nodes/x/update, GET /swarm, POST /swarm/update,
GET /swarm/unlockkey, GET /services, POST /services/create, GET /services/x, DELETE /services/x,
POST /services/x/update, GET /services/x/logs, GET /tasks, GET /tasks/x, GET /tasks/x/logs,
GET /secrets, POST /secrets/create, GET /secrets/x, DELETE /secrets/x, POST /secrets/x/update,
GET /configs, POST /configs/create, GET /configs/x, DELETE /configs/x, POST /configs/x/update,
PUT /volumes/x
"""
_REFUSED = """
POST /swarm/init, POST /swarm/join, GET /plugins/privileges, POST /plugins/pull,
POST /plugins/create, GET /images/search?term=x, GET /containers/one/checkpoints,
POST /containers/one/checkpoints, DELETE /containers/one/checkpoints/c
"""
_PLUGINS = """
GET /plugins/a/b/json, DELETE /plugins/x, POST /plugins/x/enable, POST /plugins/x/disable,
POST /plugins/x/upgrade, POST /plugins/x/push, POST /plugins/x/set
"""


def _lines(text: str) -> list[tuple[str, str]]:
    pairs = (entry.split() for entry in text.replace("\n", " ").split(","))
    return [(method, path) for method, path in pairs]


@pytest.mark.parametrize("version", ["", "/v1.24", "/v1.51"])
def test_outside_a_swarm(api: Any, version: str) -> None:
    for method, path in _lines(_OF_A_SWARM):
        found = api.call(method, version + path)[:2]
        assert found == (503, {"message": _MANAGER}), (method, path)
    for path in ("/swarm/leave", "/swarm/unlock"):
        found = api.call("POST", version + path)[:2]
        assert found == (503, {"message": "This node is not part of a swarm"})


def test_without_plugins(api: Any) -> None:
    assert api.call("GET", "/plugins")[:2] == (200, [])
    for method, path in _lines(_PLUGINS):
        status, body, _ = api.call(method, path)
        assert status == 404, (method, path)
        assert body["message"].startswith('plugin "')


def test_what_is_refused_is_refused_by_name(api: Any, engine: Any) -> None:
    engine.containers.add(name="one")
    for method, path in _lines(_REFUSED):
        status, body, _ = api.call(method, path)
        assert status == 501, (method, path)
        assert set(body) == {"message"}
        assert "\n" not in body["message"]


def test_what_a_registry_has(api: Any, engine: Any) -> None:
    status, body, _ = api.call("GET", "/distribution/registry.example.com/team/app:1/json")
    assert status == 200
    assert body == {
        "Descriptor": {
            "mediaType": "application/x",
            "digest": digest_of(b"manifest"),
            "size": 8,
        },
        "Platforms": [{"architecture": "amd64", "os": "linux"}],
    }
    assert engine.images.calls[-1][1] == "registry.example.com/team/app:1"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.23", "client version 1.23 is too old. Minimum supported API version is 1.24"),
        ("1.99", "client version 1.99 is too new. Maximum supported API version is 1.51"),
        ("2.0", "client version 2.0 is too new"),
    ],
)
def test_versions_that_are_not_served(api: Any, version: str, words: str) -> None:
    status, body, headers = api.call("GET", f"/v{version}/containers/json")
    assert (status, body["message"].startswith(words)) == (400, True)
    assert headers["Api-Version"] == "1.51"


@pytest.mark.parametrize(
    "path", ["/v1/info", "/v1.x/info", "/v1.24", "/v01.1234/info", "/vv1.24/info"]
)
def test_what_is_no_version(api: Any, path: str) -> None:
    assert api.call("GET", path)[:2] == (404, {"message": "page not found"})


# --- what each version has ---------------------------------------------------------------------


def test_members_of_images_come_and_go_with_the_version(api: Any) -> None:
    for version, twice, container in (
        ("1.43", True, True),
        ("1.44", False, True),
        ("1.45", False, False),
    ):
        listed = api.call("GET", f"/v{version}/images/json?all=1")[1][0]
        found = api.call("GET", f"/v{version}/images/busybox/json")[1]
        used = api.call("GET", f"/v{version}/system/df?type=image")[1]["Images"][0]
        assert ["VirtualSize" in value for value in (listed, found, used)] == [twice] * 3
        assert ("ContainerConfig" in found, "Container" in found) == (container, container)
        if twice:
            assert found["VirtualSize"] == found["Size"]


def test_members_of_info_go_with_the_version(api: Any) -> None:
    name = "AllowNondistributableArtifactsCIDRs"
    for version, there in (("1.24", True), ("1.48", True), ("1.49", False), ("1.51", False)):
        assert (name in api.call("GET", f"/v{version}/info")[1]["RegistryConfig"]) is there
