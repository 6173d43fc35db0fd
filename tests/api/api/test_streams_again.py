"""Clients that take streams up again after the engine was killed, and several at once."""

from __future__ import annotations

import contextlib
import signal
from datetime import datetime
from typing import Any

import docker
import pytest
from tests.patience import patience

pytestmark = pytest.mark.root
_PATIENCE = patience(60.0)
_COUNT = (
    "i=0; while [ ! -e /end ]; do i=$((i+1)); echo $i; [ $((i % 50)) != 0 ] || usleep 20000; done"
)


def _nanoseconds(text: bytes) -> int:
    """Of a line's time, as ``timestamps`` writes it."""
    whole, _, fraction = text.decode().removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(fraction)


def _lines(client: Any, name: str, since_ns: int, enough: int) -> list[tuple[int, int]]:
    """Time and number of each line of a followed log, until there are enough of them or the engine
    has gone; a line that was cut is left out."""
    found = []
    rest = b""
    query = {"stdout": 1, "follow": 1, "timestamps": 1}
    if since_ns:
        query["since"] = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
    answer = client.api.get(
        client.api._url("/containers/{0}/logs", name), params=query, stream=True
    )
    with contextlib.closing(answer):
        for piece in client.api._multiplexed_response_stream_helper(answer):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                time, _, number = line.partition(b" ")
                found.append((_nanoseconds(time), int(number)))
            if len(found) >= enough:
                break
    return found


def test_a_log_is_followed_on_over_the_end_of_the_engine(own_daemon: Any) -> None:
    """With the time of the last line that was seen, nothing is lost and nothing comes twice."""
    numbers: list[int] = []
    since = 0
    with contextlib.closing(docker.DockerClient(own_daemon.host, timeout=_PATIENCE)) as client:
        container = client.containers.run("busybox", ["sh", "-c", _COUNT], detach=True)
        for _ in range(3):
            seen = _lines(client, container.id, since, 400)
            numbers += [number for _, number in seen]
            since = seen[-1][0] + 1
            own_daemon.stop(signal.SIGKILL)
            own_daemon.start()
        assert container.exec_run(["touch", "/end"]).exit_code == 0
        assert container.wait()["StatusCode"] == 0
        rest = _lines(client, container.id, since, 10**9)
        numbers += [number for _, number in rest]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) == len(container.logs().split())
        container.remove()


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_attached_again_after_the_engine_came_back(own_daemon: Any, driver: str) -> None:
    with contextlib.closing(docker.DockerClient(own_daemon.host, timeout=_PATIENCE)) as client:
        log = docker.types.LogConfig(type=driver)
        container = client.containers.run(
            "busybox", ["cat"], detach=True, stdin_open=True, log_config=log
        )
        own_daemon.stop(signal.SIGKILL)
        own_daemon.start()
        params = {"stdin": 1, "stdout": 1, "stream": 1, "logs": 1}
        attached = container.attach_socket(params=params)
        attached._sock.settimeout(_PATIENCE)
        attached._sock.sendall(b"still here\n")
        assert attached._sock.recv(100).endswith(b"still here\n")
        attached._sock.close()
        attached.close()
        container.kill()
        container.wait()
        assert container.logs() == b"still here\n"
        container.remove()
