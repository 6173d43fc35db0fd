"""Sockets with a policy: what they let through, and the ways around that have been thought of."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.api.api.policies import Guarded
from tests.patience import patience

pytestmark = pytest.mark.root
_PATIENCE = patience(30.0)


@pytest.fixture
def mine(guarded: Guarded) -> Iterator[str]:
    status, made = guarded.create()
    assert status == 201, made
    assert guarded.call("POST", f"/containers/{made['Id']}/start")[0] == 204
    yield made["Id"]
    assert guarded.call("DELETE", f"/containers/{made['Id']}?force=1")[0] == 204


# --- one's own ---------------------------------------------------------------------------------


def test_a_job_sees_and_uses_what_it_made(guarded: Guarded, mine: str) -> None:
    assert [c["Id"] for c in guarded.call("GET", "/containers/json")[1]] == [mine]
    assert guarded.call("GET", f"/containers/{mine}/json")[1]["Config"]["Labels"]["job"] == "7"
    asked = {"Cmd": ["true"], "AttachStdout": True}
    status, made = guarded.call("POST", f"/containers/{mine}/exec", asked)
    assert status == 201
    assert guarded.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})[0] == 200
    every = json.loads(guarded.daemon.call("GET", "/containers/json")[1])
    assert {c["Id"] for c in every} == {mine, guarded.other}


def test_what_a_job_makes_gets_its_labels(guarded: Guarded) -> None:
    assert guarded.call("POST", "/volumes/create", {"Name": "v7"})[1]["Labels"] == {"job": "7"}
    made = guarded.call("POST", "/networks/create", {"Name": "n7"})[1]
    try:
        assert guarded.call("GET", f"/networks/{made['Id']}")[1]["Labels"] == {"job": "7"}
        assert [v["Name"] for v in guarded.call("GET", "/volumes")[1]["Volumes"]] == ["v7"]
        names = {n["Name"] for n in guarded.call("GET", "/networks")[1]}
        assert "n7" in names
        assert "others" not in names
    finally:
        assert guarded.call("DELETE", "/volumes/v7")[0] == 204
        assert guarded.call("DELETE", "/networks/n7")[0] == 204


def test_volumes_and_networks_of_others_do_not_exist(guarded: Guarded) -> None:
    for path in ("/volumes/others", "/networks/others"):
        assert guarded.call("GET", path)[0] == 404
        assert guarded.call("DELETE", path)[0] == 404
    assert guarded.call("POST", "/volumes/create", {"Name": "others"})[0] == 403
    guarded.call("POST", "/volumes/prune?filters=" + '{"all":["1"]}')
    guarded.call("POST", "/networks/prune")
    assert guarded.daemon.call("GET", "/volumes/others")[0] == 200
    assert guarded.daemon.call("GET", "/networks/others")[0] == 200


# --- others' containers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /containers/{}/json",
        "GET /v1.24/containers/{}/json",
        "GET /containers/{}/logs?stdout=1",
        "GET /containers/{}/top",
        "GET /containers/{}/stats?stream=0",
        "GET /containers/{}/changes",
        "GET /containers/{}/export",
        "GET /containers/{}/archive?path=/etc/passwd",
        "HEAD /containers/{}/archive?path=/etc/passwd",
        "POST /containers/{}/attach?stream=1&stdin=1",
        "POST /containers/{}/start",
        "POST /containers/{}/stop",
        "POST /containers/{}/restart",
        "POST /containers/{}/kill",
        "POST /containers/{}/pause",
        "POST /containers/{}/wait",
        "POST /containers/{}/rename?name=x",
        "POST /containers/{}/resize?h=1&w=1",
        "POST /commit?container={}&repo=ci/x",
        "DELETE /containers/{}?force=1",
        "DELETE /containers/{}/alias?link=1",
    ],
)
def test_others_containers_do_not_exist(guarded: Guarded, request_line: str) -> None:
    for name in (guarded.other, guarded.other[:12], "other", "%6fther"):
        method, path = request_line.format(name).split(" ")
        assert guarded.call(method, path)[0] == 404
    state = json.loads(guarded.daemon.call("GET", "/containers/other/json")[1])["State"]
    assert state["Status"] == "running"


def test_a_websocket_to_anothers_container(guarded: Guarded) -> None:
    head = (
        "GET /containers/other/attach/ws?stream=1&stdin=1 HTTP/1.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert _raw(guarded.job, head.encode()).split()[1] == b"404"


def test_bodies_for_others_containers(guarded: Guarded) -> None:
    for path, body in (
        ("exec", {"Cmd": ["id"]}),
        ("update", {"Memory": 1 << 26}),
    ):
        assert guarded.call("POST", f"/containers/other/{path}", body)[0] == 404
    assert guarded.call("PUT", "/containers/other/archive?path=/", b"")[0] == 404
    body = {"Container": "other"}
    assert guarded.call("POST", "/networks/bridge/disconnect", body)[0] == 404


def test_a_process_in_anothers_container_is_not_found(guarded: Guarded) -> None:
    made = guarded.daemon.call("POST", "/containers/other/exec", {"Cmd": ["true"]})[1]
    exec_id = json.loads(made)["Id"]
    assert guarded.call("GET", f"/exec/{exec_id}/json")[0] == 404
    assert guarded.call("POST", f"/exec/{exec_id}/start", {})[0] == 404
    assert guarded.call("POST", f"/exec/{exec_id}/resize?h=1&w=1")[0] == 404


@pytest.mark.parametrize(
    "members",
    [
        {"VolumesFrom": ["other"]},
        {"VolumesFrom": ["other:ro"]},
        {"Links": ["other:o"]},
        {"NetworkMode": "container:other"},
        {"PidMode": "container:other"},
        {"IpcMode": "container:other"},
        {"Binds": ["others:/x"]},
        {"Mounts": [{"Type": "volume", "Source": "others", "Target": "/x"}]},
    ],
)
def test_nothing_of_others_is_joined(guarded: Guarded, members: dict[str, Any]) -> None:
    status, answer = guarded.create(HostConfig=members)
    assert (status, "(labels)" in answer["message"]) == (403, True), answer


def test_lists_events_and_figures_tell_nothing_of_others(guarded: Guarded, mine: str) -> None:
    past = guarded.daemon.call("GET", "/events?since=1&until=0s", by=guarded.job)[1]
    assert mine.encode() in past
    assert guarded.other.encode() not in past
    _, usage = guarded.call("GET", "/system/df")
    assert [c["Id"] for c in usage["Containers"]] == [mine]
    listed = guarded.call("GET", '/containers/json?all=1&filters={"name":["other"]}')[1]
    assert listed == []


def test_a_limit_counts_what_is_shown(guarded: Guarded, mine: str) -> None:
    assert [c["Id"] for c in guarded.call("GET", "/containers/json?limit=1")[1]] == [mine]


# --- powers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"Privileged": True}, "grant.privileged"),
        ({"NetworkMode": "host"}, "grant.host-namespaces"),
        ({"PidMode": "host"}, "grant.host-namespaces"),
        ({"IpcMode": "host"}, "grant.host-namespaces"),
        ({"UTSMode": "host"}, "grant.host-namespaces"),
        ({"UsernsMode": "host"}, "grant.host-namespaces"),
        ({"CgroupnsMode": "host"}, "grant.host-namespaces"),
        ({"CapAdd": ["SYS_ADMIN"]}, "grant.capabilities"),
        ({"CapAdd": ["ALL"]}, "grant.capabilities"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "grant.unconfined"),
        ({"SecurityOpt": ["apparmor=unconfined"]}, "grant.unconfined"),
        ({"MaskedPaths": []}, "grant.unconfined"),
        ({"ReadonlyPaths": []}, "grant.unconfined"),
        ({"Devices": [{"PathOnHost": "/dev/mem", "PathInContainer": "/m"}]}, "grant.devices"),
        ({"DeviceCgroupRules": ["c *:* rwm"]}, "grant.devices"),
        ({"DeviceRequests": [{"Count": -1}]}, "grant.devices"),
        ({"Binds": ["/:/h"]}, "grant.binds"),
        ({"Binds": ["/etc:/h:ro"]}, "grant.binds"),
        ({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/h"}]}, "grant.binds"),
        ({"CgroupParent": "/"}, "CgroupParent"),
        ({"Sysctls": {"net.ipv4.ip_forward": "1"}}, "Sysctls"),
        ({"Runtime": "other"}, "Runtime"),
        ({"OomScoreAdj": -1000}, "OomScoreAdj"),
        ({"VolumeDriver": "nfs", "Binds": ["x:/x"]}, "volume driver"),
        ({"LogConfig": {"Type": "syslog"}}, "log driver"),
        ({"LogConfig": {"Type": "json-file", "Config": {"path": "/x"}}}, "log option"),
        (
            {
                "Mounts": [
                    {
                        "Type": "volume",
                        "Target": "/x",
                        "VolumeOptions": {"DriverConfig": {"Options": {"device": "/etc"}}},
                    }
                ]
            },
            "driver options",
        ),
    ],
)
def test_powers_that_are_not_granted(guarded: Guarded, members: Any, rule: str) -> None:
    status, answer = guarded.create(HostConfig=members)
    assert status == 403, answer
    assert rule in answer["message"]
    assert "job.toml" in answer["message"]


def test_capitals_hide_nothing(guarded: Guarded) -> None:
    assert guarded.create(hostconfig={"Privileged": True})[0] == 403


def test_powers_are_not_gained_later(guarded: Guarded, mine: str) -> None:
    more = {"CapAdd": ["ALL"], "Privileged": True}
    assert guarded.call("POST", f"/containers/{mine}/update", more)[0] == 403
    asked = {"Cmd": ["id"], "Privileged": True}
    assert guarded.call("POST", f"/containers/{mine}/exec", asked)[0] == 403
    body = {"Container": mine}
    for network in ("host", "others"):
        assert guarded.call("POST", f"/networks/{network}/connect", body)[0] == 404


def test_volumes_and_networks_that_reach_the_host(guarded: Guarded) -> None:
    device = {"Name": "b", "DriverOpts": {"type": "none", "o": "bind", "device": "/etc"}}
    assert guarded.call("POST", "/volumes/create", device)[0] == 403
    wire = {"Name": "m", "Driver": "macvlan", "Options": {"parent": "lo"}}
    assert guarded.call("POST", "/networks/create", wire)[0] == 403
    bridge = {"Name": "m", "Options": {"com.docker.network.bridge.name": "x0"}}
    assert guarded.call("POST", "/networks/create", bridge)[0] == 403
    host = json.loads(guarded.daemon.call("GET", "/networks/host")[1])["Id"]
    for mode in (host, host[:12]):
        assert guarded.create(HostConfig={"NetworkMode": mode})[0] in (403, 404)
    asked = {"EndpointsConfig": {"bridge": {"NetworkID": host}}}
    assert guarded.create(NetworkingConfig=asked)[0] in (403, 404)


def test_parts_of_the_engine_without_a_rule_are_refused(guarded: Guarded) -> None:
    """The policy lists ``* /volumes/**``; nobody wrote a rule about copies of volumes."""
    assert guarded.daemon.call("GET", "/volumes/others/export")[0] == 200
    status, answer = guarded.call("GET", "/volumes/others/export")
    assert (status, "no rule" in answer["message"]) == (403, True)


# --- images ------------------------------------------------------------------------------------


def test_images_and_names_that_are_not_listed(guarded: Guarded) -> None:
    assert guarded.create(Image="alpine")[0] == 403
    for path in (
        "/images/create?fromImage=alpine",
        "/images/create?fromSrc=http://127.0.0.1:1/x&repo=ci/x",
        "/images/create?fromSrc=-&repo=busybox",
        "/images/busybox/tag?repo=alpine",
        "/images/busybox/push",
    ):
        assert guarded.call("POST", path)[0] == 403, path
    assert guarded.call("DELETE", "/images/busybox?force=1")[0] == 403
    told = guarded.call("POST", "/images/load")[1]  # in the stream, as all errors of load
    assert "grant.load" in told["error"]


def test_a_name_of_ones_own_comes_and_goes(guarded: Guarded) -> None:
    assert guarded.call("POST", "/images/busybox/tag?repo=ci/mine")[0] == 201
    assert guarded.call("DELETE", "/images/ci/mine")[0] == 200
    assert guarded.daemon.call("GET", "/images/busybox/json")[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        "t=alpine",
        "t=ci/x&networkmode=host",
        "t=ci/x&networkmode=container:other",
        "t=ci/x&remote=http://127.0.0.1:1/x",
        "t=ci/x&cgroupparent=/",
        'securityopt=["seccomp=unconfined"]',
        'cachefrom=["alpine"]',
    ],
)
def test_builds_that_are_not_allowed(guarded: Guarded, query: str) -> None:
    assert guarded.call("POST", f"/build?{query}", b"FROM busybox\n")[0] == 403


@pytest.mark.parametrize(
    "dockerfile",
    [
        b"FROM alpine\n",
        b"FROM busybox\nCOPY --from=alpine / /\n",
        b"FROM busybox\nRUN --mount=type=bind,from=alpine,target=/x true\n",
        b"FROM busybox\nADD http://127.0.0.1:1/x /\n",
        b"FROM busybox\nRUN --network=host true\n",
    ],
)
def test_dockerfiles_that_are_not_allowed(guarded: Guarded, dockerfile: bytes) -> None:
    status, data = guarded.daemon.call("POST", "/build?t=ci/x", dockerfile, by=guarded.job)
    assert status == 403 or b"refused" in data or b"needs a build" in data, data
    assert guarded.call("GET", "/images/ci/x/json")[0] == 404


# --- the request itself ------------------------------------------------------------------------


def _raw(path: str, data: bytes) -> bytes:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(_PATIENCE)
        client.connect(path)
        client.sendall(data)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    "target",
    [
        "/info",
        "/v1.51/info",
        "/v1.24/info",
        "//info",
        "/./info",
        "/containers/../info",
        "/containers/%2e%2e/info",
        "/%69nfo",
        "/containers/%2e%2e%2finfo",
        "/v1.51//info",
        "http://host/info",
        "/info?path=/containers/json",
        "/info/",
        "/info%00",
        "/INFO",
    ],
)
def test_spelling_a_path_otherwise_opens_nothing(guarded: Guarded, target: str) -> None:
    answer = _raw(guarded.job, f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.split()[1] in (b"403", b"404", b"400"), answer


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 0", b""),
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n"),
        ("Content-Length: %d", b"%b"),
    ],
)
def test_a_body_is_judged_as_it_is_carried_out(guarded: Guarded, framing: str, body: bytes) -> None:
    """A plug-in for authorisation that looks at a copy of the body can be shown another one, or
    none; here there is no copy."""
    asked = json.dumps({"Image": "busybox", "HostConfig": {"Privileged": True}}).encode()
    if b"%x" in body:
        body = body % (len(asked), asked)
    elif body:
        framing, body = framing % len(asked), body % asked
    head = f"POST /containers/create HTTP/1.1\r\nContent-Type: application/json\r\n{framing}\r\n"
    answer = _raw(guarded.job, head.encode() + b"Connection: close\r\n\r\n" + body)
    assert answer.split()[1] == (b"403" if body else b"400"), answer


def test_a_name_that_is_given_twice_counts_once(guarded: Guarded) -> None:
    """The last one is what is decoded, judged and carried out."""
    text = b'{"Image":"busybox","HostConfig":{"Privileged":%b},"HostConfig":{"Privileged":%b}}'
    assert guarded.call("POST", "/containers/create", text % (b"false", b"true"))[0] == 403
    status, made = guarded.call("POST", "/containers/create", text % (b"true", b"false"))
    if status == 201:
        found = guarded.call("GET", f"/containers/{made['Id']}/json")[1]
        assert found["HostConfig"]["Privileged"] is False
        assert guarded.call("DELETE", f"/containers/{made['Id']}")[0] == 204


# --- read-only ---------------------------------------------------------------------------------


def test_a_reader_reads_and_changes_nothing(guarded: Guarded) -> None:
    def call(method: str, path: str, body: Any = None) -> int:
        return int(guarded.daemon.call(method, path, body, by=guarded.reader)[0])

    for path in ("/_ping", "/info", "/version", "/containers/json", "/containers/other/json"):
        assert call("GET", path) == 200, path
    assert call("HEAD", "/_ping") == 200
    for method, path in (
        ("POST", "/containers/other/stop"),
        ("POST", "/containers/create"),
        ("DELETE", "/containers/other?force=1"),
        ("PUT", "/containers/other/archive?path=/"),
        ("GET", "/containers/other/attach/ws?stdin=1&stream=1"),
        ("POST", "/containers/other/exec"),
        ("POST", "/auth"),
        ("POST", "/build"),
    ):
        assert call(method, path, {}) == 403, path
