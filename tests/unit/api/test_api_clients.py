"""The clients people use, over the engine in memory: docker-py, and the docker command line."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from wherry.api.frames import frame
from wherry.engine.records import Event, Health, MountPoint, State, WaitResult
from wherry.errors import Conflict
from wherry.model.container import ContainerConfig
from wherry.network.api import PublishedPort
from wherry.runtime.api import LogSettings
from wherry.runtime.logs.reader import LogReader
from wherry.runtime.logs.writer import open_writer

_NS = 1_700_000_000 * 10**9


@pytest.fixture(params=["1.24", "1.41", "auto"])
def client(api: Any, request: pytest.FixtureRequest) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(f"unix://{api.running.path}", version=request.param)
    with contextlib.closing(made):
        yield made


@pytest.fixture
def cli(api: Any, need: Callable[[str], None], tmp_path: Path) -> Callable[..., Any]:
    """``cli("ps", "-a")`` runs the docker command line against the engine in memory."""
    need("docker")

    def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "-H", f"unix://{api.running.path}", *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
            **more,
        )

    return run


@pytest.fixture
def running_container(engine: Any) -> Any:
    return engine.containers.add(
        name="web",
        config=ContainerConfig(
            image="busybox", exposed_ports={"80/tcp": {}, "81/udp": {}}, labels={"a": "b"}
        ),
        args=("-c", "echo hi"),
        state=State(status="running", pid=7, started_ns=_NS, health=Health(status="healthy")),
        ports=(PublishedPort(container_port=80, protocol="tcp", host_ip="", host_port=8080),),
        mounts=(MountPoint(type="bind", source="/h", destination="/c", rw=False),),
    )


def test_docker_py_reads_everything(
    client: docker.DockerClient, engine: Any, running_container: Any
) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.51"
    assert client.info()["Containers"] == 3
    (container,) = client.containers.list()
    assert (container.name, container.status) == ("web", "running")
    assert container.ports == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "81/udp": None,
    }
    assert container.labels == {"a": "b"}
    assert container.attrs["State"]["StartedAt"] == "2023-11-14T22:13:20.000000000Z"
    assert container.attrs["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert container.attrs["Mounts"][0]["Destination"] == "/c"
    (image,) = client.images.list()
    assert image.tags == ["busybox:latest"]
    assert [n.name for n in client.networks.list()] == ["bridge"]
    with pytest.raises(ImageNotFound, match="No such image: nosuch:latest"):
        client.images.get("nosuch")


def test_docker_py_waits_and_gets_errors(
    client: docker.DockerClient, engine: Any, running_container: Any
) -> None:
    container = client.containers.get("web")
    codes: list[Any] = []
    waiter = threading.Thread(target=lambda: codes.append(container.wait()))
    waiter.start()
    while not engine.containers.waits:
        client.ping()
    engine.containers.waits[0].set_result(WaitResult(exit_code=5))
    waiter.join(10)
    assert codes == [{"StatusCode": 5}]
    engine.containers.failure = Conflict("it is busy")
    with pytest.raises(APIError, match="it is busy") as caught:
        container.start()
    assert caught.value.status_code == 409


def test_docker_py_execs(client: docker.DockerClient, engine: Any, running_container: Any) -> None:
    done: list[Any] = []
    container = client.containers.get("web")
    engine.execs.exit.set_result(0)
    thread = threading.Thread(target=lambda: done.append(container.exec_run(["sh"], demux=True)))
    thread.start()
    while engine.execs.stream is None:
        client.ping()
    engine.execs.stream.sendall(frame("stdout", b"out") + frame("stderr", b"err"))
    engine.execs.stream.close()
    thread.join(10)
    assert done[0].output == (b"out", b"err")


def test_docker_py_logs_and_events(
    client: docker.DockerClient, engine: Any, running_container: Any, tmp_path: Path
) -> None:
    settings = LogSettings(driver="local", path=str(tmp_path / "log"))
    engine.containers.logs = lambda ref: LogReader(settings)
    writer = open_writer(settings)
    assert writer is not None
    writer.write(1, [(_NS, b"one\n", False)])
    writer.write(2, [(_NS, b"two\n", False)])
    container = client.containers.get("web")
    assert container.logs() == b"one\ntwo\n"
    assert container.logs(stdout=False) == b"two\n"
    assert container.logs(tail=1) == b"two\n"
    stream = client.events(decode=True, filters={"type": "container"})
    engine.events.emit(
        Event(type="container", action="die", actor_id="x", attributes={}, time_ns=_NS)
    )
    assert next(stream)["Action"] == "die"
    stream.close()


def test_the_command_line_reads_everything(
    cli: Callable[..., Any], engine: Any, running_container: Any
) -> None:
    version = cli("version")
    assert version.returncode == 0, version.stderr
    assert "Server: Wherry" in version.stdout
    assert "http://xxxxx:xxxxx@proxy:3128" in cli("info").stdout
    line = cli("ps", "--no-trunc").stdout.splitlines()[1]
    for words in ("\"sh -c 'echo hi'\"", "(healthy)", "0.0.0.0:8080->80/tcp", "81/udp", "web"):
        assert words in line
    assert "busybox      latest" in cli("images").stdout
    assert "one" in cli("history", "busybox").stdout
    assert "bridge" in cli("network", "ls").stdout
    assert cli("port", "web").stdout == "80/tcp -> 0.0.0.0:8080\n"
    assert cli("inspect", "-f", "{{.State.Pid}} {{.Name}}", "web").stdout == "7 /web\n"
    assert cli("top", "web").stdout.splitlines() == [
        "PID                 CMD",
        "1                   sh",
    ]
    missing = cli("inspect", "nosuch")
    assert missing.returncode == 1


def test_the_command_line_runs_a_container(cli: Callable[..., Any], engine: Any) -> None:
    """The order of ``docker run``: create, attach, wait, start."""
    containers = engine.containers

    def start(*args: Any) -> None:
        (stream,) = containers.streams.values()
        stream.sendall(frame("stdout", b"hello\n") + frame("stderr", b"oops\n"))
        stream.close()
        containers.waits[0].set_result(WaitResult(exit_code=3))

    containers.start = start
    done = cli("run", "--annotation", "org.wherry.host-ca=true", "busybox", "echo", "hello")
    warning = "WARNING: mind the gap\n"
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", warning + "oops\n", 3)
    order = [call[0] for call in containers.calls]
    assert order == ["create", "attach", "wait"]
    assert containers.calls[0][-1]["host_ca"] is True
    assert containers.calls[2][2] == "next-exit"


def test_the_command_line_builds_with_the_classic_protocol(
    cli: Callable[..., Any], engine: Any, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    done = cli("build", "-t", "x", "-q", str(tmp_path))
    assert done.stdout == "sha256:" + "a" * 64 + "\n", done.stderr
    assert engine.builds.request.tags == ("x",)
    assert b"Dockerfile" in engine.builds.context
