"""The typed library against a server that answers as engines do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.client import BuildFailed, Client, CommandFailed
from wherry.client.answers import NEVER, ContainerDetails, decode
from wherry.client.progress import TransferFailed
from wherry.errors import InternalError, InvalidArgument, NotFound, Unavailable
from wherry.model.container import HostConfig
from wherry.testing.fake_api import Answer, FakeApi, Request, frame

_ID = "ab" * 32
_DETAILS = {
    "Id": _ID,
    "Created": "2026-11-21T09:06:38.617283123Z",
    "State": {"Status": "exited", "ExitCode": 3, "StartedAt": "0001-01-01T00:00:00Z"},
    "Config": {"Image": "busybox", "Tty": False, "Env": None, "Unknown": {"field": 1}},
    "HostConfig": {"Binds": None, "Memory": 5},
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": None}
    },
    "Mounts": None,
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "api.sock") as server:
        server.on("POST", "/containers/create", status=201, json={"Id": _ID, "Warnings": None})
        server.on("POST", f"/containers/{_ID}/start", status=204)
        server.on("POST", f"/containers/{_ID}/wait", json={"StatusCode": 0})
        server.on("DELETE", f"/containers/{_ID}", status=204)
        server.on("GET", f"/containers/{_ID}/json", json=_DETAILS)
        yield server


@pytest.fixture
def client(api: FakeApi) -> Iterator[Client]:
    with Client(api.host, timeout=10) as made:
        yield made


def _echo(link: socket.socket, request: Request) -> None:
    heard = b""
    while data := link.recv(65536):
        heard += data
    link.sendall(frame(1, heard) + frame(2, b"a complaint\n"))


def test_run_sends_input_and_removes_the_container(api: FakeApi, client: Client) -> None:
    api.on("POST", f"/containers/{_ID}/attach", takeover=_echo)
    done = client.containers.run("busybox", ["cat"], input=b"x" * 300_000, network="none")
    assert (done.exit_code, len(done.stdout), done.stderr) == (0, 300_000, b"a complaint\n")
    body = api.asked("POST", "/containers/create").json
    assert (body["Image"], body["Cmd"], body["StdinOnce"]) == ("busybox", ["cat"], True)
    assert body["HostConfig"]["NetworkMode"] == "none"
    assert api.asked("DELETE", f"/containers/{_ID}").query["force"] == "1"


def test_a_status_other_than_zero(api: FakeApi, client: Client) -> None:
    api.on("POST", f"/containers/{_ID}/attach", takeover=_echo)
    api.on("POST", f"/containers/{_ID}/wait", json={"StatusCode": 7, "Error": None})
    with pytest.raises(CommandFailed, match="busybox ended with status 7: a complaint") as caught:
        client.containers.run("busybox")
    assert caught.value.completed.exit_code == 7
    assert client.containers.run("busybox", check=False).exit_code == 7
    api.asked("DELETE", f"/containers/{_ID}")


def test_nothing_stays_of_a_launch_that_fails(api: FakeApi, client: Client) -> None:
    api.fail("POST", f"/containers/{_ID}/start", 400, "executable file not found")
    with pytest.raises(InvalidArgument):
        client.containers.launch("busybox", ["nosuch"])
    api.asked("DELETE", f"/containers/{_ID}")


def test_a_missing_image_is_pulled(api: FakeApi, client: Client) -> None:
    answers = iter(
        [Answer(404, b'{"message":"No such image: x:latest"}'), Answer(201, b'{"Id":"c"}')]
    )
    api.on("POST", "/containers/create", handler=lambda _: next(answers))
    api.on("POST", "/images/create", lines=[{"status": "Pulling"}])
    api.on("GET", "/images/x/json", json={"Id": "sha256:1"})
    assert client.containers.create("x").id == "c"
    assert api.asked("POST", "/images/create").query == {"fromImage": "x", "tag": "latest"}


def test_settings_in_the_request(api: FakeApi, client: Client) -> None:
    client.containers.create(
        "busybox",
        "echo $X",
        name="box",
        environment={"X": "1"},
        ports={80: 8080, "53/udp": None, 81: ("127.0.0.1", 0)},
        volumes={"/src": "/dst:ro"},
        cpus=1.5,
        restart="on-failure:3",
        host_ca=True,
        host=HostConfig(memory=9, annotations={"a": "b"}),
    )
    asked = api.asked("POST", "/containers/create")
    body, host = asked.json, asked.json["HostConfig"]
    assert asked.query["name"] == "box"
    assert body["Cmd"] == ["/bin/sh", "-c", "echo $X"]
    assert body["Env"] == ["X=1"]
    assert set(body["ExposedPorts"]) == {"80/tcp", "53/udp", "81/tcp"}
    assert host["PortBindings"]["81/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "0"}]
    assert host["Binds"] == ["/src:/dst:ro"]
    assert (host["NanoCpus"], host["Memory"]) == (1_500_000_000, 9)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["Annotations"] == {"a": "b", "org.wherry.host-ca": "true"}


def test_details_with_nulls_and_unknown_fields(client: Client) -> None:
    details = client.containers.get(_ID).inspect()
    assert details.state.exit_code == 3
    assert details.state.started_at == NEVER
    assert details.created.microsecond == 617283
    assert details.mounts == ()
    assert details.host_config.memory == 5
    assert details.network_settings.ports.keys() == {"80/tcp"}


def test_the_address_of_a_port(client: Client) -> None:
    container = client.containers.get(_ID)
    assert container.address(80) == ("127.0.0.1", 8080)
    with pytest.raises(NotFound, match="81/tcp"):
        container.address(81)


def test_exec(api: FakeApi, client: Client) -> None:
    api.on("POST", f"/containers/{_ID}/exec", status=201, json={"Id": "e1"})
    api.on("POST", "/exec/e1/start", takeover=_echo)
    api.on("GET", "/exec/e1/json", json={"ID": "e1", "ExitCode": 4})
    container = client.containers.get(_ID)
    done = container.exec(["cat"], check=False, input=b"in", environment={"A": "b"}, user="7")
    assert (done.exit_code, done.text) == (4, "in")
    body = api.asked("POST", f"/containers/{_ID}/exec").json
    assert (body["Env"], body["User"], body["AttachStdin"]) == (["A=b"], "7", True)
    with pytest.raises(CommandFailed, match="cat ended with status 4"):
        container.exec(["cat"])


def test_waiting_for_a_line(api: FakeApi, client: Client) -> None:
    api.on(
        "GET",
        f"/containers/{_ID}/logs",
        handler=lambda _: Answer(chunks=[frame(1, b"now rea"), frame(1, b"dy\n")]),
    )
    container = client.containers.get(_ID)
    container.wait_for_log("ready", timeout=10)
    with pytest.raises(Unavailable, match="never wrote"):
        container.wait_for_log("steady", timeout=10)


def test_health_of_a_container_that_has_ended(client: Client) -> None:
    with pytest.raises(Unavailable, match="has ended"):
        client.containers.get(_ID).wait_healthy(timeout=10)


def test_build(api: FakeApi, client: Client, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    api.on("POST", "/build", lines=[{"stream": "Step 1\n"}, {"aux": {"ID": "sha256:9"}}])
    api.on("GET", "/images/sha256:9/json", json={"Id": "sha256:9", "Size": 3})
    heard = []
    image = client.images.build(
        tmp_path, tag=["a:1", "b:2"], build_args={"A": "1"}, host_ca=True, report=heard.append
    )
    assert (image.size, heard[0].stream) == (3, "Step 1\n")
    asked = api.asked("POST", "/build")
    assert asked.queries["t"] == ["a:1", "b:2"]
    assert asked.query["buildargs"] == '{"A": "1"}'
    assert asked.headers["x-wherry-host-ca"] == "1"
    assert len(asked.body) > 1024


def test_a_build_that_fails(api: FakeApi, client: Client, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    failed = {"errorDetail": {"message": "it returned 5", "code": 5}, "error": "it returned 5"}
    api.on("POST", "/build", lines=[{"stream": "Step 1\n"}, failed])
    with pytest.raises(BuildFailed, match="it returned 5") as caught:
        client.images.build(tmp_path)
    assert (caught.value.code, caught.value.output) == (5, "Step 1\n")


def test_a_build_that_ends_without_an_image(api: FakeApi, client: Client, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    api.on("POST", "/build", lines=[{"stream": "Step 1\n"}])
    with pytest.raises(InternalError, match="without naming an image"):
        client.images.build(tmp_path)


def test_a_pull_that_fails_midway(api: FakeApi, client: Client) -> None:
    api.on("POST", "/images/create", lines=[{"status": "x"}, {"error": "it broke"}])
    with pytest.raises(TransferFailed, match="it broke"):
        client.images.pull("busybox")


def test_lists_may_be_null(api: FakeApi, client: Client) -> None:
    api.on("GET", "/containers/json", json=None, handler=lambda _: Answer(body=b"null\n"))
    api.on("GET", "/volumes", json={"Volumes": None})
    assert client.containers.list() == ()
    assert client.volumes.list() == ()


def test_events(api: FakeApi, client: Client) -> None:
    event = {"Type": "container", "Action": "die", "Actor": {"ID": "x", "Attributes": {"a": "b"}}}
    api.on("GET", "/events", lines=[{**event, "timeNano": 5, "time": 0}])
    (found,) = client.events(filters={"type": ["container"]})
    assert (found.action, found.actor.attributes, found.time_ns) == ("die", {"a": "b"}, 5)
    assert api.asked("GET", "/events").query["filters"] == '{"type":["container"]}'


def test_an_answer_of_another_form() -> None:
    with pytest.raises(InternalError, match="not as expected"):
        decode(b'{"Id": {"not": "text"}}', ContainerDetails)
