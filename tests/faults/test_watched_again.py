"""What the engine watches over goes on with the next one: health checks and restart policies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.victims import kill
from tests.patience import patience

from wherry.client import Client

pytestmark = pytest.mark.root

EngineMaker = Callable[..., EngineProcess]
_PATIENCE = patience(30.0)
_MILLISECOND = 1_000_000  # in nanoseconds, as the API wants them


def test_health_is_checked_by_the_next_engine(new_engine: EngineMaker) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    check = {"Test": ["CMD", "test", "-e", "/well"], "Interval": 50 * _MILLISECOND, "Retries": 2}
    script = "touch /well; exec sleep 100000"
    _create(client, {"Cmd": ["sh", "-c", script], "Healthcheck": check})
    client.containers.get("box").start()
    _wait_for(client, lambda state: _health(state) == "healthy")
    engine.kill()

    client = engine.start()
    container = client.containers.get("box")
    assert container.inspect().state.health.status in ("starting", "healthy")
    for change, wanted in (("rm", "unhealthy"), ("touch", "healthy")):
        assert container.exec([change, "/well"]).exit_code == 0
        _wait_for(client, lambda state, wanted=wanted: _health(state) == wanted)  # type: ignore[misc]
    container.remove(force=True)


def test_the_next_engine_restarts_what_ends(new_engine: EngineMaker) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    policy = {"RestartPolicy": {"Name": "on-failure"}}
    _create(client, {"Cmd": ["sleep", "100000"], "HostConfig": policy})
    client.containers.get("box").start()
    pid = _running_pid(client, 0)
    engine.kill()

    client = engine.start()
    assert _running_pid(client, 0) == pid
    kill(pid)
    pid = _running_pid(client, pid)  # it ended while there was an engine
    engine.kill()
    kill(pid)
    client = engine.start()
    assert _running_pid(client, pid)  # it ended while there was none
    client.containers.get("box").remove(force=True)


def _create(client: Client, body: dict[str, Any]) -> None:
    client.session.json(
        "POST", "/containers/create", {"name": "box"}, json={"Image": "busybox", **body}
    )


def _health(state: dict[str, Any]) -> str:
    return str(state["Health"]["Status"])


def _running_pid(client: Client, other_than: int) -> int:
    """Wait until the container has a process that is another one; which."""
    return int(_wait_for(client, lambda state: state["Pid"] not in (0, other_than))["Pid"])


def _wait_for(client: Client, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while not holds(state := client.session.get("/containers/box/json")["State"]):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)  # what is waited for may have been before it could be listened to
    assert isinstance(state, dict)
    return state
