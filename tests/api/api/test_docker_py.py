"""docker-py and plain HTTP on a real daemon."""

from __future__ import annotations

import threading
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound
from tests.patience import patience

pytestmark = pytest.mark.root


def test_run_and_its_errors(client: docker.DockerClient) -> None:
    out = client.containers.run("busybox", ["echo", "hi"], remove=True, network_mode="none")
    assert out == b"hi\n"
    with pytest.raises(ContainerError, match="exit status 3"):
        client.containers.run("busybox", ["sh", "-c", "exit 3"], remove=True, network_mode="none")
    with pytest.raises(ImageNotFound, match="No such image: nosuch:latest"):
        client.api.create_container("nosuch")


@pytest.fixture
def sleeper(client: docker.DockerClient) -> Any:
    container = client.containers.run(
        "busybox", ["sleep", "1000"], detach=True, network_mode="none", labels={"mine": "yes"}
    )
    yield container
    container.remove(force=True)


def test_exec_many_times(sleeper: Any) -> None:
    """Output and exit code are there whole, however quickly the process ends."""
    for number in range(20):
        code, output = sleeper.exec_run(["sh", "-c", f"echo {number}; exit {number}"])
        assert (code, output) == (number, f"{number}\n".encode())


def test_lists_and_filters(client: docker.DockerClient, sleeper: Any) -> None:
    assert [c.id for c in client.containers.list(filters={"label": "mine=yes"})] == [sleeper.id]
    assert client.containers.list(filters={"label": "mine=no"}) == []
    assert client.containers.get(sleeper.id[:10]).id == sleeper.id
    with pytest.raises(APIError, match="invalid filter"):
        client.containers.list(filters={"nosuch": "x"})


def test_stop_and_events(client: docker.DockerClient, sleeper: Any) -> None:
    events = client.events(decode=True, filters={"container": sleeper.id})
    seen: list[str] = []

    def watch() -> None:
        for event in events:
            seen.append(event["Action"])
            if event["Action"] == "stop":
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    sleeper.stop(timeout=0)
    watcher.join(patience(30))
    assert seen[-2:] == ["die", "stop"]
    assert sleeper.wait()["StatusCode"] == 137
    sleeper.reload()
    assert sleeper.status == "exited"


def _unframed(data: bytes) -> bytes:
    payload = b""
    while data:
        end = 8 + int.from_bytes(data[4:8], "big")
        payload, data = payload + data[8:end], data[end:]
    return payload


def test_attach_socket_half_close(client: docker.DockerClient) -> None:
    container = client.containers.create(
        "busybox", ["sh", "-c", "cat; echo end"], stdin_open=True, network_mode="none", tty=False
    )
    try:
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        sock = stream._sock
        container.start()
        sock.sendall(b"text\n")
        sock.shutdown(1)
        data = b""
        while more := sock.recv(65536):
            data += more
        assert _unframed(data) == b"text\nend\n"
        stream.close()
    finally:
        container.remove(force=True)
