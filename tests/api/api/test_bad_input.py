"""What cannot be is refused with Docker's status and one sentence, and nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.root


def _lists(daemon: Any) -> tuple[Any, ...]:
    paths = ("/containers/json?all=1", "/networks", "/volumes", "/images/json")
    found = [json.loads(daemon.call("GET", path)[1]) for path in paths]
    for container in found[0]:
        container.pop("Status")  # tells the time
    return tuple(found)


@pytest.fixture
def unchanged(daemon: Any) -> Iterator[None]:
    before = _lists(daemon)
    yield
    assert _lists(daemon) == before


@pytest.fixture(scope="module")
def things(daemon: Any) -> Iterator[None]:
    """A container that uses a volume on a network."""
    network = {"Name": "taken", "IPAM": {"Config": [{"Subnet": "10.213.7.0/24"}]}}
    assert daemon.call("POST", "/networks/create", network)[0] == 201
    host = {"Binds": ["kept:/v"], "NetworkMode": "taken"}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}
    assert daemon.call("POST", "/containers/create?name=taken", body)[0] == 201
    yield
    assert daemon.call("DELETE", "/containers/taken?force=1")[0] == 204
    assert daemon.call("DELETE", "/networks/taken")[0] == 204
    assert daemon.call("DELETE", "/volumes/kept")[0] == 204


def _create(**host: Any) -> tuple[str, str, Any]:
    return "POST", "/containers/create", {"Image": "busybox", "HostConfig": host}


def _ports(port: str, host: str = "") -> tuple[str, str, Any]:
    return _create(PortBindings={port: [{"HostPort": host}]})


def _network(**members: Any) -> tuple[str, str, Any]:
    return "POST", "/networks/create", {"Name": "bad", **members}


def _pool(**config: str) -> tuple[str, str, Any]:
    return _network(IPAM={"Config": [config]})


_CASES = [
    (_ports("70000/tcp"), 400, "70000"),
    (_ports("0/tcp"), 400, "0"),
    (_ports("80/ip"), 400, "ip"),
    (_ports("80/tcp", "70000"), 400, "70000"),
    (_ports("80/tcp", "-1"), 400, "-1"),
    (_ports("80/tcp", "x"), 400, "x"),
    (_ports("80-90/tcp", "1-2"), 400, "80-90"),
    (_create(Memory=1), 400, "Minimum memory limit"),
    (_create(NanoCpus=-1), 400, ""),
    (_create(RestartPolicy={"Name": "sometimes"}), 400, "sometimes"),
    (_create(Binds=["a"]), 400, "a"),
    (_create(Binds=["/a:relative"]), 400, "relative"),
    (_create(Binds=["/a:/b:bogus"]), 400, "bogus"),
    (_create(Mounts=[{"Type": "bind", "Source": "/nosuch/x", "Target": "/x"}]), 400, "/nosuch/x"),
    (_create(Mounts=[{"Type": "cloud", "Target": "/x"}]), 400, "cloud"),
    (_create(CapAdd=["FLY"]), 400, "FLY"),
    (_create(SecurityOpt=["bogus"]), 400, "bogus"),
    (_create(Ulimits=[{"Name": "bogus", "Soft": 1, "Hard": 1}]), 400, "bogus"),
    (_create(Sysctls={"kernel.bogus": "1"}), 400, "kernel.bogus"),
    (_create(LogConfig={"Type": "bogus"}), 400, "bogus"),
    (_create(LogConfig={"Type": "json-file", "Config": {"max-size": "big"}}), 400, "big"),
    (_create(VolumesFrom=["none"]), 404, "none"),
    (_create(Links=["none:alias"]), 400, "could not get container for none"),
    (_create(ExtraHosts=["nocolon"]), 400, "nocolon"),
    (("POST", "/containers/create", {"Image": "no/such"}), 404, "No such image: no/such"),
    (("POST", "/containers/create", {"Image": "Bad Name"}), 400, ""),
    (("POST", "/containers/create", {"Image": ""}), 400, ""),
    (("POST", "/containers/create?name=taken", {"Image": "busybox"}), 409, "already in use"),
    (("POST", "/containers/create?name=a/b", {"Image": "busybox"}), 400, "a/b"),
    (("POST", "/containers/taken/rename?name=", None), 400, ""),
    (("POST", "/containers/taken/kill?signal=SIGNO", None), 400, "SIGNO"),
    (("POST", "/containers/taken/kill", None), 409, "not running"),
    (("POST", "/containers/taken/pause", None), 409, "not running"),
    (("POST", "/containers/taken/resize?h=-1&w=0", None), 400, ""),
    (("POST", "/containers/taken/exec", {"Cmd": ["id"]}), 409, "not running"),
    (("POST", "/containers/taken/wait?condition=bored", None), 400, "bored"),
    (("POST", "/containers/taken/update", {"Memory": 1}), 400, "Minimum memory limit"),
    (("GET", "/containers/taken/logs", None), 400, "at least one stream"),
    (("GET", "/containers/json?filters={", None), 400, "invalid filter"),
    (("GET", '/containers/json?filters={"bogus":["1"]}', None), 400, "invalid filter 'bogus'"),
    (("GET", "/containers/json?limit=many", None), 400, "limit"),
    (_network(Name="taken"), 409, "already exists"),
    (_network(Name=""), 400, ""),
    (_network(Driver="cloud"), 501, "cloud"),
    (_pool(Subnet="10.213.7.0/25"), 409, "overlap"),
    (_pool(Subnet="10.214.0.0/33"), 400, "10.214.0.0/33"),
    (_pool(Subnet="10.214.0.0/24", Gateway="10.215.0.1"), 400, "10.215.0.1"),
    (_pool(Subnet="10.214.0.0/24", IPRange="10.215.0.0/24"), 400, "10.215.0.0/24"),
    (("DELETE", "/networks/bridge", None), 403, "bridge"),
    (("DELETE", "/networks/none-such", None), 404, "none-such"),
    (("POST", "/networks/taken/connect", {"Container": "none"}), 404, "none"),
    (("POST", "/networks/taken/connect", {"Container": "taken"}), 403, "taken"),
    (("DELETE", "/volumes/kept", None), 409, "in use"),
    (("POST", "/volumes/create", {"Name": "a/b"}), 400, "a/b"),
    (("POST", "/volumes/create", {"Name": "vol", "DriverOpts": {"bogus": "1"}}), 400, "bogus"),
    (("POST", "/images/busybox/tag?repo=UPPER", None), 400, "lowercase"),
    (("POST", "/images/busybox/tag?repo=a&tag=b/c", None), 400, ""),
    (("DELETE", "/images/busybox", None), 409, "is being used by"),
    (("POST", "/build?t=UPPER", b"FROM busybox\n"), 400, "lowercase"),
    (("POST", "/build?memory=x", b"FROM busybox\n"), 400, "memory"),
    (("POST", "/build", b"FORM busybox\n"), 400, "FORM"),
]  # fmt: skip


def _told(case: tuple[tuple[str, str, Any], int, str]) -> str:
    (method, path, _), status, words = case
    return f"{status} {method} {path} {words}"


@pytest.mark.usefixtures("things")
def test_what_cannot_be_is_refused_and_nothing_changes(daemon: Any, unchanged: None) -> None:
    wrong = []
    for case in _CASES:
        (method, path, body), status, words = case
        found, data = daemon.call(method, path.replace(" ", "%20"), body)
        try:
            message = json.loads(data)["message"]
        except (ValueError, KeyError):
            message = data.decode(errors="replace")
        if found != status or words not in message or "\n" in message.strip():
            wrong.append(f"{_told(case)} -> {found} {message}")
    assert not wrong, "\n".join(wrong)
