"""What happened, told as dockerd tells it: each kind of event with its attributes, and each filter.

Docker tells of a container's end first and then of its networks and volumes; here these are free
before anybody learns of the end, and are told of first.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.root
Told = dict[str, Any]
BOX = {"Image": "busybox", "Cmd": ["sleep", "1000"], "Tty": True, "Labels": {"told": "yes"}}
HOST = {"NetworkMode": "told-net", "Binds": ["told-vol:/v"]}


def call(daemon: Any, method: str, path: str, body: Any = None) -> bytes:
    status, answer = daemon.call(method, path, body)
    assert status < 400, (method, path, answer)
    return bytes(answer)


def _archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("told"), io.BytesIO())
    return data.getvalue()


def _exec(daemon: Any, ref: str) -> None:
    made = call(daemon, "POST", f"/containers/{ref}/exec", {"Cmd": ["true", "x"]})
    exec_id = json.loads(made)["Id"]
    call(daemon, "POST", f"/exec/{exec_id}/start", {"Detach": False})


def _live(daemon: Any) -> None:
    """A container's life, on a network, with a volume."""
    call(daemon, "POST", "/networks/create", {"Name": "told-net"})
    call(daemon, "POST", "/volumes/create", {"Name": "told-vol"})
    call(daemon, "POST", "/containers/create?name=told", {**BOX, "HostConfig": HOST})
    call(daemon, "POST", "/containers/told/start")
    _exec(daemon, "told")
    for action in ("pause", "unpause", "resize?h=10&w=20", "rename?name=told2"):
        call(daemon, "POST", f"/containers/told/{action}")
    call(daemon, "GET", "/containers/told2/top")
    call(daemon, "POST", "/containers/told2/update", {"CpuShares": 512})
    call(daemon, "GET", "/containers/told2/archive?path=/etc/hostname")
    call(daemon, "PUT", "/containers/told2/archive?path=/", _archive())
    call(daemon, "GET", "/containers/told2/export")
    call(daemon, "POST", "/networks/bridge/connect", {"Container": "told2"})
    call(daemon, "POST", "/networks/bridge/disconnect", {"Container": "told2"})
    call(daemon, "POST", "/containers/told2/restart?t=0")
    call(daemon, "POST", "/containers/told2/kill")
    call(daemon, "DELETE", "/containers/told2")


def _images(daemon: Any) -> None:
    call(daemon, "POST", "/containers/create?name=told", BOX)
    call(daemon, "POST", "/commit?container=told&repo=told-image")
    saved = call(daemon, "GET", "/images/told-image/get")
    call(daemon, "DELETE", "/images/told-image")
    call(daemon, "POST", "/images/load", saved)
    call(daemon, "DELETE", "/images/told-image")
    call(daemon, "POST", "/images/create?fromSrc=-&repo=told-import", _archive())
    call(daemon, "DELETE", "/images/told-import")


def _prune(daemon: Any) -> None:
    call(daemon, "POST", '/containers/prune?filters={"label":["told"]}')
    call(daemon, "DELETE", "/networks/told-net")
    call(daemon, "DELETE", "/volumes/told-vol")
    call(daemon, "POST", '/networks/prune?filters={"label":["told"]}')
    call(daemon, "POST", '/volumes/prune?filters={"label":["told"]}')
    call(daemon, "POST", '/images/prune?filters={"label":["told-not"]}')
    call(daemon, "POST", "/build/prune")


@pytest.fixture(scope="module")
def span(daemon: Any) -> str:
    """The query of what happened here."""
    began = time.time_ns()
    try:
        _live(daemon)
        _images(daemon)
        _prune(daemon)
    finally:
        for path in ("/containers/told?force=1", "/networks/told-net", "/volumes/told-vol"):
            with suppress(OSError):
                daemon.call("DELETE", path)
    return f"since={_seconds(began)}&until={_seconds(time.time_ns())}"


def _seconds(moment: int) -> str:
    return f"{moment // 10**9}.{moment % 10**9:09d}"


def events(daemon: Any, span: str, **filters: str) -> list[Told]:
    wanted = quote(json.dumps({name: [value] for name, value in filters.items()}))
    answer = call(daemon, "GET", f"/events?{span}&filters={wanted}")
    return [json.loads(line) for line in answer.splitlines()]


def test_all_that_happened_is_told_in_order(daemon: Any, span: str) -> None:
    told = [f"{event['Type']} {event['Action']}" for event in events(daemon, span)]
    begun = ["volume mount", "network connect", "container start"]
    ended = ["network disconnect", "volume unmount", "container die"]
    gone = ["image untag", "image delete"]
    assert told == [
        *("network create", "volume create", "container create", *begun),
        *("container exec_create: true x", "container exec_start: true x", "container exec_die"),
        *("container pause", "container unpause", "container resize", "container rename"),
        *("container top", "container update", "container archive-path"),
        *("container extract-to-dir", "container export"),
        *("network connect", "network disconnect"),
        *("container kill", "container kill", *ended, "container stop", *begun),
        *("container restart", "container kill", *ended, "container destroy"),
        *("container create", "container commit", "image tag", "image save", *gone),
        *("image load", *gone, "image tag", "image import", *gone),
        *("container destroy", "container prune", "network destroy", "volume destroy"),
        *("network prune", "volume prune", "image prune", "builder prune"),
    ]


def test_attributes_are_those_of_dockerd(daemon: Any, span: str) -> None:
    last = {f"{e['Type']} {e['Action']}": e for e in events(daemon, span)}

    def attributes(name: str) -> dict[str, str]:
        found = last[name]["Actor"]["Attributes"]
        return {k: v for k, v in found.items() if not k.startswith("org.wherry.")}

    container = last["container restart"]["Actor"]["ID"]
    about = {"image": "busybox", "name": "told2", "told": "yes"}
    assert attributes("container restart") == about
    assert attributes("container rename") == {**about, "oldName": "/told"}
    assert attributes("container resize") == {
        **about,
        "name": "told",
        "height": "10",
        "width": "20",
    }
    assert attributes("container kill") == {**about, "signal": "9"}
    assert attributes("container die").keys() == {*about, "exitCode", "execDuration"}
    assert attributes("container die")["exitCode"] == "137"
    assert attributes("container exec_die").keys() == {*about, "execID", "exitCode"}
    assert attributes("network connect") == {
        "container": container,
        "name": "told-net",
        "type": "bridge",
    }
    assert attributes("network destroy") == {"name": "told-net", "type": "bridge"}
    assert attributes("volume unmount") == {"container": container, "driver": "local"}
    for kind in ("container", "network", "volume", "image", "builder"):
        event = last[f"{kind} prune"]
        assert event["Actor"]["ID"] == ""
        assert event["Actor"]["Attributes"].keys() == {"reclaimed"}
    for action in ("save", "load", "untag", "import", "delete"):
        event = last[f"image {action}"]
        assert event["Actor"]["Attributes"]["name"] == event["Actor"]["ID"] == event["id"]
    assert attributes("image tag")["name"] == "told-import:latest"
    commit = attributes("container commit")
    assert commit.keys() == {"image", "name", "told", "comment", "imageID", "imageRef"}
    assert commit["imageRef"] == "told-image:latest"


def test_old_clients_find_the_flat_members(daemon: Any, span: str) -> None:
    for event in events(daemon, span):
        flat = ("status", "id", "from")
        have = {name: event[name] for name in flat if name in event}
        actor = event["Actor"]
        if event["Type"] == "container":
            image = actor["Attributes"].get("image", "")
            assert have == {"status": event["Action"], "id": actor["ID"], "from": image}
        elif event["Type"] == "image":
            assert have == {"status": event["Action"], "id": actor["ID"]}
        else:
            assert have == {}
        assert event["scope"] == "local"
        assert event["time"] == event["timeNano"] // 10**9


_LIFE = {
    "network": {f"network {a}" for a in ("create", "connect", "disconnect", "destroy")},
    "volume": {f"volume {a}" for a in ("create", "mount", "unmount", "destroy")},
}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"type": "builder"}, {"builder prune"}),
        ({"type": "daemon"}, set()),
        ({"event": "unpause"}, {"container unpause"}),
        ({"event": "exec_start"}, {"container exec_start: true x"}),
        ({"event": "prune", "type": "volume"}, {"volume prune"}),
        ({"label": "told=yes", "event": "top"}, {"container top"}),
        ({"label": "told=no"}, set()),
        ({"network": "told-net"}, _LIFE["network"]),
        ({"volume": "told-vol"}, _LIFE["volume"]),
        ({"volume": "told-not"}, set()),
        ({"image": "told-image", "type": "image"}, {"image tag"}),
        ({"image": "busybox", "event": "start"}, {"container start"}),
        ({"container": "told2", "event": "kill"}, {"container kill"}),
        ({"container": "told-not"}, set()),
        ({"scope": "swarm"}, set()),
        ({"scope": "local", "event": "rename"}, {"container rename"}),
        ({"node": "x"}, set()),
    ],
)  # fmt: skip
def test_a_filter_finds_what_it_means(
    daemon: Any, span: str, filters: dict[str, str], found: set[str]
) -> None:
    told = {f"{event['Type']} {event['Action']}" for event in events(daemon, span, **filters)}
    assert told == found
