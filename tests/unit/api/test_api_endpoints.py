"""Endpoints over an engine in memory: what they ask of it, and what clients get."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from wherry.api.versions import MAXIMUM, spelled
from wherry.errors import (
    Conflict,
    DataCorrupt,
    NotModified,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from wherry.runtime.api import CommandNotExecutable, CommandNotFound

_JSON = "application/json"


# --- versions, errors, limits ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/_ping", "/v1.24/_ping", "/v1.51/_ping"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_tells_what_is_served(api: Any, method: str, path: str) -> None:
    status, body, headers = api.call(method, path)
    assert (status, body) == (200, b"OK" if method == "GET" else b"")
    assert headers["Api-Version"] == spelled(MAXIMUM) == "1.51"
    assert headers["Builder-Version"] == "1"
    assert headers["Docker-Experimental"] == "false"
    assert headers["Ostype"] == "linux"
    assert headers["Server"] == "Wherry/9.9 (linux)"
    assert headers["Swarm"] == "inactive"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.52", "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ("1.10", "client version 1.10 is too old."),
    ],
)
def test_other_versions_are_refused_in_dockers_words(api: Any, version: str, words: str) -> None:
    status, body, _ = api.call("GET", f"/v{version}/info")
    assert status == 400
    assert body["message"].startswith(words)


@pytest.mark.parametrize("path", ["/nosuch", "/v1.51/nosuch", "/containers/a/b/json", "/"])
def test_unknown_pages(api: Any, path: str) -> None:
    assert api.call("GET", path)[:2] == (404, {"message": "page not found"})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandNotFound("exec: executable file not found in $PATH"), 400),
        (CommandNotExecutable("exec: permission denied"), 400),
        (Unauthenticated("who are you"), 401),
        (PermissionDenied("no"), 403),
        (Conflict("busy"), 409),
        (ResourceExhausted("no ports left"), 500),
        (DataCorrupt("bad digest"), 500),
        (Unavailable("later"), 503),
    ],
)
def test_each_kind_of_error_has_its_status(api: Any, engine: Any, error: Any, status: int) -> None:
    engine.containers.failure = error
    assert api.call("POST", "/containers/x/start")[:2] == (status, {"message": str(error)})


def test_not_modified_has_no_body(api: Any, engine: Any) -> None:
    engine.containers.failure = NotModified("runs already")
    assert api.call("POST", "/containers/x/start")[:2] == (304, b"")
    engine.containers.failure = None
    assert api.call("POST", "/containers/x/start")[0] == 204


def test_an_unforeseen_error_is_one_sentence_without_details(api: Any, engine: Any) -> None:
    engine.containers.failure = ZeroDivisionError("secret")
    status, body, _ = api.call("POST", "/containers/x/start")
    assert status == 500
    assert "ZeroDivisionError" in body["message"]
    assert "secret" not in body["message"]


@pytest.mark.timeout(20)
def test_an_error_that_no_future_can_hold_is_answered_too(api: Any, engine: Any) -> None:
    engine.containers.failure = StopIteration()
    assert api.call("POST", "/containers/x/start")[0] == 500
    engine.images.script = [{"status": "one"}, StopIteration()]
    status, body, _ = api.call("POST", "/images/create?fromImage=a")
    assert status == 200
    assert b"errorDetail" in body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no body"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "Expected `object`"),
        (b'{"HostConfig": {"Memory": "much"}}', "$.HostConfig.Memory"),
        (b'{"Env": {"a": 1}}', "$.Env"),
        (b'{"HostConfig": {"PortBindings": {"80/tcp": "x"}}}', "$.HostConfig.PortBindings"),
    ],
)
def test_a_broken_body_is_named(api: Any, body: bytes, words: str) -> None:
    status, answer, _ = api.call("POST", "/containers/create", body, Content_Type=_JSON)
    assert status == 400
    assert words in answer["message"]


def test_a_body_must_say_that_it_is_json(api: Any) -> None:
    status, answer, _ = api.call("POST", "/containers/create", b"{}", Content_Type="text/plain")
    assert status == 400
    assert "unsupported Content-Type header (text/plain)" in answer["message"]


@pytest.mark.parametrize("filters", ["{", '{"a":1}', "[]"])
def test_broken_filters(api: Any, filters: str) -> None:
    status, answer, _ = api.call("GET", f"/containers/json?filters={filters}")
    assert status == 400
    assert "invalid filter" in answer["message"]


# --- containers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "log", "driver"),
    [
        ("docker-sdk-python/7.1.0", {}, "json-file"),
        ("docker-compose/1.29.2 docker-py/4.4.4", {}, "json-file"),
        ("docker-sdk-python/7.1.0", {"Type": "none"}, "none"),
        ("Docker-Client/28.2.2 (linux)", {}, ""),
    ],
)
def test_docker_py_gets_logs_that_it_reads(
    api: Any, engine: Any, agent: str, log: dict[str, str], driver: str
) -> None:
    body = {"Image": "busybox", "HostConfig": {"LogConfig": log}}
    assert api.call("POST", "/containers/create", body, User_Agent=agent)[0] == 201
    assert engine.containers.calls[0][3].log_config.type == driver


def test_create_passes_everything_on(api: Any, engine: Any) -> None:
    body = {
        "Image": "busybox",
        "Cmd": "date",
        "Entrypoint": [""],
        "Hostname": None,
        "Unknown": {"is": "ignored"},
        "ExposedPorts": {"80/tcp": None},
        "HostConfig": {
            "Memory": 1024,
            "Binds": None,
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": None},
            "Annotations": {"org.wherry.host-ca": "true"},
        },
        "NetworkingConfig": {"EndpointsConfig": {"Mine": None, "bridge": {"Aliases": ["a"]}}},
    }
    status, answer, _ = api.call("POST", "/v1.44/containers/create?name=/web", body)
    assert status == 201
    assert answer == {"Id": "1" * 64, "Warnings": ["mind the gap"]}
    _, name, config, host, networking, more = engine.containers.calls[0]
    assert (name, config.cmd, config.entrypoint) == ("web", ("date",), ("",))
    assert (config.hostname, config.exposed_ports) == ("", {"80/tcp": {}})
    assert host.memory == 1024
    assert host.log_config.type == ""
    assert host.port_bindings["80/tcp"][0].host_port == "8080"
    assert host.port_bindings["81/tcp"] is None
    assert networking.endpoints_config["Mine"] is None
    assert networking.endpoints_config["bridge"].aliases == ("a",)
    assert more == {"platform": "", "host_ca": True}


@pytest.mark.parametrize(
    ("query", "headers", "wanted"),
    [
        ("", {}, None),
        ("?hostca=1", {}, True),
        ("?hostca=0", {}, False),
        ("", {"X_Wherry_Host_CA": "1"}, True),
        ("", {"X_Wherry_Host_CA": "0"}, False),
    ],
)
def test_host_ca_is_asked_for_in_three_ways(
    api: Any, engine: Any, query: str, headers: dict[str, str], wanted: bool | None
) -> None:
    api.call("POST", f"/containers/create{query}", {"Image": "x"}, **headers)
    assert engine.containers.calls[0][-1]["host_ca"] is wanted


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", {"running_only": True, "limit": 0, "filters": {}}),
        ("?all=1", {"running_only": False, "limit": 0, "filters": {}}),
        ("?all=false", {"running_only": True, "limit": 0, "filters": {}}),
        ("?limit=2", {"running_only": False, "limit": 2, "filters": {}}),
        ("?limit=-1", {"running_only": True, "limit": 0, "filters": {}}),
        (
            '?filters={"status":["exited"]}',
            {"running_only": False, "limit": 0, "filters": {"status": ("exited",)}},
        ),
        (
            '?filters={"label":{"a=b":true,"c":false}}',
            {"running_only": True, "limit": 0, "filters": {"label": ("a=b",)}},
        ),
    ],
)
def test_what_a_list_asks_for(api: Any, engine: Any, query: str, asked: dict[str, Any]) -> None:
    assert api.call("GET", f"/containers/json{query}")[:2] == (200, [])
    assert engine.containers.calls == [("list", asked)]


def test_sizes_only_when_asked_for(api: Any, engine: Any) -> None:
    engine.containers.add()
    assert "SizeRw" not in api.call("GET", "/containers/json")[1][0]
    line = api.call("GET", "/containers/json?size=1")[1][0]
    assert (line["SizeRw"], line["SizeRootFs"]) == (10, 1000)
    assert "SizeRw" not in api.call("GET", "/containers/c1/json")[1]
    assert api.call("GET", "/containers/c1/json?size=true")[1]["SizeRootFs"] == 1000


def test_unknown_containers_have_dockers_words(api: Any) -> None:
    assert api.call("GET", "/containers/nosuch/json")[:2] == (
        404,
        {"message": "No such container: nosuch"},
    )


@pytest.mark.parametrize(
    ("request_line", "call"),
    [
        ("POST /containers/x/stop", ("stop", "x", {"timeout": None, "signal": ""})),
        ("POST /containers/x/stop?t=-1", ("stop", "x", {"timeout": -1, "signal": ""})),
        (
            "POST /containers/x/restart?t=3&signal=INT",
            ("restart", "x", {"timeout": 3, "signal": "INT"}),
        ),
        ("POST /containers/x/kill", ("kill", "x", {"signal": "SIGKILL"})),
        ("POST /containers/x/kill?signal=9", ("kill", "x", {"signal": "9"})),
        ("POST /containers/x/pause", ("pause", "x", {})),
        ("POST /containers/x/unpause", ("unpause", "x", {})),
        ("POST /containers/x/rename?name=/y", ("rename", "x", "y", {})),
        ("DELETE /containers/x?v=1&force=1", ("remove", "x", {"force": True, "volumes": True})),
        ("DELETE /containers/x", ("remove", "x", {"force": False, "volumes": False})),
    ],
)
def test_lifecycle_calls(api: Any, engine: Any, request_line: str, call: tuple[Any, ...]) -> None:
    status, body, _ = api.call(*request_line.split(" "))
    assert (status, body) == (204, b"")
    assert engine.containers.calls == [call]


def test_resize_wants_numbers(api: Any, engine: Any) -> None:
    assert api.call("POST", "/containers/x/resize?h=24&w=80")[0] == 200
    assert engine.containers.calls == [("resize", "x", 24, 80, {})]
    for query in ("", "?h=24", "?h=a&w=80", "?h=-1&w=80", "?h=24&w=70000"):
        assert api.call("POST", f"/containers/x/resize{query}")[0] == 400


def test_top_changes_and_prune(api: Any, engine: Any) -> None:
    assert api.call("GET", "/containers/x/top")[1] == {
        "Titles": ["PID", "CMD"],
        "Processes": [["1", "sh"]],
    }
    assert engine.containers.calls == [("top", "x", "-ef")]
    assert api.call("GET", "/containers/x/changes")[1] == [
        {"Path": "/new", "Kind": 1},
        {"Path": "/gone", "Kind": 2},
    ]
    assert api.call("POST", "/containers/prune")[1] == {
        "ContainersDeleted": ["x"],
        "SpaceReclaimed": 7,
    }


# --- images ------------------------------------------------------------------------------------


def test_images_have_familiar_names(api: Any) -> None:
    (line,) = api.call("GET", "/images/json")[1]
    assert line["RepoTags"] == ["busybox:latest"]
    assert line["RepoDigests"] == ["busybox@sha256:" + "a" * 64]
    assert (line["Created"], line["Size"], line["Containers"]) == (1704164645, 4096, 0)
    found = api.call("GET", "/images/docker.io/library/busybox/json")[1]
    assert found["Id"] == line["Id"]
    assert found["Config"]["Cmd"] == ["sh"]
    assert found["RootFS"] == {"Type": "layers", "Layers": ["sha256:" + "a" * 64]}
    assert api.call("GET", "/images/a/b/c/json")[:2] == (
        404,
        {"message": "No such image: a/b/c:latest"},
    )


def test_history_is_newest_first_with_one_image(api: Any) -> None:
    newest, oldest = api.call("GET", "/images/busybox/history")[1]
    assert (newest["Id"], newest["Tags"], newest["Size"]) == (
        "sha256:" + "a" * 64,
        ["busybox:latest"],
        0,
    )
    assert (oldest["Id"], oldest["Tags"], oldest["Created"]) == ("<missing>", None, 0)


def test_tag_and_remove(api: Any, engine: Any) -> None:
    assert api.call("POST", "/images/busybox/tag?repo=mine&tag=1")[0] == 201
    assert api.call("POST", "/images/busybox/tag?repo=mine")[0] == 201
    gone = api.call("DELETE", "/images/a/b:c?force=1&noprune=1")[1]
    assert gone == [{"Untagged": "busybox:latest"}, {"Deleted": "sha256:" + "a" * 64}]
    assert engine.images.calls == [
        ("tag", "busybox", "mine", "1"),
        ("tag", "busybox", "mine", "latest"),
        ("remove", "a/b:c", {"force": True, "prune": False}),
    ]
    assert api.call("POST", "/images/prune")[1] == {"ImagesDeleted": None, "SpaceReclaimed": 0}


def _auth(**members: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(members).encode()).decode()


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        ("fromImage=busybox&tag=1", "busybox:1"),
        ("fromImage=busybox:2", "busybox:2"),
        ("fromImage=busybox:2&tag=3", "busybox:3"),
        ("fromImage=reg:5000/a&tag=3", "reg:5000/a:3"),
        ("fromImage=busybox&tag=sha256:ab", "busybox@sha256:ab"),
        ("fromImage=busybox", "busybox"),
    ],
)
def test_pull_names_the_reference(api: Any, engine: Any, query: str, reference: str) -> None:
    engine.images.script = [{"status": "one"}, {"status": "two", "id": "x"}]
    status, body, headers = api.call("POST", f"/images/create?{query}&platform=linux/arm64")
    assert (status, headers["Content-Type"]) == (200, _JSON)
    assert [json.loads(line) for line in body.splitlines()] == engine.images.script
    assert engine.images.calls == [("pull", reference, "linux/arm64", None)]


def test_credentials_are_decoded_for_pull_and_push(api: Any, engine: Any) -> None:
    header = _auth(username="me", password="pw", serveraddress="reg")
    api.call("POST", "/images/create?fromImage=a", X_Registry_Auth=header)
    api.call("POST", "/images/reg/a/push?tag=1", X_Registry_Auth=header.rstrip("="))
    api.call("POST", "/images/a/push", X_Registry_Auth=_auth())
    pulled, pushed, anonymous = (call[-1] for call in engine.images.calls)
    assert pulled == pushed
    assert (pulled.username, pulled.password, pulled.server_address) == ("me", "pw", "reg")
    assert engine.images.calls[1][1] == "reg/a:1"
    assert anonymous is None


@pytest.mark.parametrize("header", ["%%%", "bm90anNvbg==", "W10="])
def test_bad_credentials_are_refused_and_not_repeated(api: Any, header: str) -> None:
    status, body, _ = api.call("POST", "/images/create?fromImage=a", X_Registry_Auth=header)
    assert status == 400
    assert "X-Registry-Auth" in body["message"]
    assert header not in body["message"]


def test_an_error_before_the_first_line_has_a_status(api: Any, engine: Any) -> None:
    engine.images.script = [Unauthenticated("log in first")]
    assert api.call("POST", "/images/create?fromImage=a")[:2] == (
        401,
        {"message": "log in first"},
    )


def test_an_error_after_the_first_line_is_a_line(api: Any, engine: Any) -> None:
    engine.images.script = [{"status": "one"}, Unavailable("the registry went away")]
    status, body, _ = api.call("POST", "/images/create?fromImage=a")
    assert status == 200
    assert json.loads(body.splitlines()[-1]) == {
        "errorDetail": {"message": "the registry went away"},
        "error": "the registry went away",
    }


def test_login(api: Any, engine: Any) -> None:
    status, body, _ = api.call("POST", "/auth", {"username": "me", "password": "pw"})
    assert (status, body["Status"]) == (200, "Login Succeeded")
    engine.images.script = [Unauthenticated("incorrect username or password")]
    assert api.call("POST", "/auth", {"username": "me"})[0] == 401


def test_save_and_load(api: Any, engine: Any) -> None:
    engine.images.script = [b"tar", b"ball"]
    status, body, headers = api.call("GET", "/images/get?names=a&names=b")
    assert (status, body, headers["Content-Type"]) == (200, b"tarball", "application/x-tar")
    assert api.call("GET", "/images/x/y/get")[1] == b"tarball"
    assert engine.images.calls == [("save", ["a", "b"]), ("save", ["x/y"])]
    engine.images.script = [{"status": "noise"}, {"stream": "Loaded image: a\n"}]
    status, body, _ = api.call("POST", "/images/load?quiet=1", b"x" * 3_000_000)
    assert status == 200
    assert body == {"stream": "Loaded image: a\n"}
    assert len(engine.images.loaded) == 3_000_000


def test_bootstrap(api: Any, engine: Any) -> None:
    engine.images.script = [{"status": "fetching"}]
    _, body, _ = api.call("POST", "/wherry/bootstrap?name=busybox")
    assert json.loads(body.splitlines()[-1]) == {"aux": {"ID": "sha256:" + "a" * 64}}
    assert api.call("GET", "/wherry/bootstrap")[1] == [
        {"Name": "busybox", "Description": "the static one"}
    ]


# --- the rest ----------------------------------------------------------------------------------


def test_version_and_info(api: Any) -> None:
    version = api.call("GET", "/version")[1]
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.51", "1.24")
    assert (version["Version"], version["Arch"], version["Os"]) == ("9.9", "amd64", "linux")
    assert version["Components"][0]["Name"] == "Engine"
    info = api.call("GET", "/info")[1]
    assert (info["Architecture"], info["OSType"], info["NCPU"]) == ("x86_64", "linux", 2)
    assert info["HttpProxy"] == "http://xxxxx:xxxxx@proxy:3128"
    assert info["RegistryConfig"]["IndexConfigs"]["reg:5000"]["Secure"] is False
    assert "10.0.0.0/8" in info["RegistryConfig"]["InsecureRegistryCIDRs"]
    assert info["Swarm"]["LocalNodeState"] == "inactive"


def test_networks(api: Any) -> None:
    body = {
        "Name": "mine",
        "Driver": "bridge",
        "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"}]},
        "Labels": {"a": "b"},
        "Options": None,
    }
    status, made, _ = api.call("POST", "/networks/create", body)
    assert (status, made["Warning"]) == (201, "")
    assert api.call("POST", "/networks/create", body)[0] == 409
    found = api.call("GET", f"/networks/{made['Id'][:12]}")[1]
    assert found["IPAM"]["Config"] == [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"}]
    assert (found["Scope"], found["Containers"], found["Labels"]) == ("local", {}, {"a": "b"})
    names = [n["Name"] for n in api.call("GET", '/networks?filters={"type":["custom"]}')[1]]
    assert names == ["mine"]
    assert api.call("GET", '/networks?filters={"nosuch":["x"]}')[0] == 400
    assert api.call("POST", "/networks/prune")[1] == {"NetworksDeleted": ["mine"]}
    assert api.call("DELETE", "/networks/mine")[0] == 404
    assert api.call("POST", "/networks/create", {"Name": "s", "Ingress": True})[0] == 403
    assert api.call("POST", "/networks/create", {})[0] == 400


def test_connect_and_disconnect_name_a_container_and_its_settings(api: Any, engine: Any) -> None:
    container = engine.containers.add(name="web").id
    body = {"Container": "web", "EndpointConfig": {"Aliases": ["a"], "GwPriority": 3}}
    assert api.call("POST", "/networks/bridge/connect", body)[0] == 200
    settings = engine.attachments.connected["bridge", "web"]
    assert (settings.aliases, settings.gw_priority) == (("a",), 3)
    assert api.call("POST", "/networks/bridge/connect", body)[0] == 403
    assert api.call("POST", "/networks/bridge/connect", {})[0] == 400
    assert api.call("POST", "/networks/nosuch/connect", body)[0] == 404
    leave = {"Container": container, "Force": True}
    assert api.call("POST", "/networks/bridge/disconnect", leave)[0] == 200
    assert engine.attachments.connected == {}


def test_swarm_plugins_and_what_is_not_served(api: Any) -> None:
    status, body, _ = api.call("GET", "/services")
    assert status == 503
    assert body["message"].startswith("This node is not a swarm manager.")
    assert api.call("GET", "/plugins")[:2] == (200, [])
    assert api.call("GET", "/plugins/a/b/json")[0] == 404
    status, body, _ = api.call("POST", "/v1.41/session")
    assert status == 501
    assert "POST /session" in body["message"]


def test_every_operation_of_the_definition_has_an_answer() -> None:
    """A handler for each path of the API's definition, whose list stands beside this test."""
    from wherry.api.router import Router
    from wherry.api.routes import all_routes

    router = Router(all_routes())
    for line in Path(__file__).with_name("operations.txt").read_text().splitlines():
        method, path = line.split(" ")
        parts = [part if not part.startswith("{") else "x" for part in path.split("/")]
        assert router.find(method, "/".join(parts)) is not None, line
