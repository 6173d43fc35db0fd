"""Health checks and restarts of real containers; the rules are in tests/unit/engine."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from tests.patience import patience

from wherry.engine.records import Event, Health
from wherry.errors import Conflict
from wherry.model.container import HostConfig, RestartPolicy
from wherry.model.image import HealthConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]
MILLISECOND = 10**6
Queue = SimpleQueue[Event]


@pytest.fixture
def events(engine: Any) -> Iterator[Queue]:
    queue: Queue = SimpleQueue()
    leave = engine.engine.events.subscribe(queue.put)
    yield queue
    leave()


def wait_for(events: Queue, action: str) -> Event:
    while (event := events.get(timeout=patience(60))).action != action:
        pass
    return event


def checked(engine: Any, script: str, **more: int) -> str:
    """A container that runs, with a check every 50 ms."""
    fields = {"interval": 50 * MILLISECOND, "retries": 1, **more}
    check = HealthConfig(test=("CMD-SHELL", script), **fields)
    container: str = engine.create("sleep", "1000", healthcheck=check)
    engine.engine.containers.start(container)
    return container


def health_of(engine: Any, container: str) -> Health:
    found: Health = engine.engine.containers.get(container).state.health
    return found


def test_a_check_makes_healthy_and_unhealthy_and_keeps_what_it_printed(
    engine: Any, events: Queue
) -> None:
    script = "if mkdir /once; then echo well; else echo out; echo err >&2; exit 3; fi"
    container = checked(engine, script, retries=2)
    assert health_of(engine, container).status in ("starting", "healthy")
    wait_for(events, "health_status: healthy")
    wait_for(events, "health_status: unhealthy")
    health = health_of(engine, container)
    assert health.failing_streak >= 2
    assert health.log[-1].exit_code == 3
    # Two pipes: what comes from one of them first is not told.
    printed = sorted(health.log[-1].output.splitlines())
    assert printed == ["err", "mkdir: can't create directory '/once': File exists", "out"]
    assert health.log[-1].end_ns > health.log[-1].start_ns
    engine.engine.containers.remove(container, force=True)


def test_a_check_that_takes_too_long_has_failed(engine: Any, events: Queue) -> None:
    container = checked(engine, "echo slow; sleep 1000", timeout=400 * MILLISECOND)
    wait_for(events, "health_status: unhealthy")
    result = health_of(engine, container).log[-1]
    assert result.exit_code == -1
    assert result.output.startswith("Health check exceeded timeout (400ms)")
    engine.engine.containers.remove(container, force=True)


def test_a_check_tells_of_its_execs(engine: Any, events: Queue) -> None:
    container = checked(engine, "true")
    created = wait_for(events, "exec_create: /bin/sh -c true")
    assert created.actor_id == container
    ended = wait_for(events, "exec_die")
    assert ended.attributes["exitCode"] == "0"
    assert ended.attributes["execID"] == created.attributes["execID"]
    engine.engine.containers.remove(container, force=True)


def restarting(engine: Any, name: str, *command: str) -> str:
    host = HostConfig(network_mode="none", restart_policy=RestartPolicy(name=name))
    container: str = engine.create(*command, host=host)
    engine.engine.containers.start(container)
    return container


def test_a_kill_ends_the_wait_for_the_next_start(engine: Any, events: Queue) -> None:
    api = engine.engine.containers
    container = restarting(engine, "always", "false")
    for _ in range(3):  # by now the next start is 400 ms away
        wait_for(events, "die")
    while api.get(container).state.status != "exited":
        try:
            api.kill(container)
        except Conflict:  # it has just ended, and nobody knows yet
            continue
    record = api.get(container)
    assert record.stopped_by_user
    assert api.wait(container).result(patience(20)).exit_code in (1, 137)
    api.remove(container)


def test_restarts_are_counted_from_the_user_s_own_start(engine: Any, events: Queue) -> None:
    api = engine.engine.containers
    container = restarting(engine, "on-failure", "sh", "-c", "test -e /stay && sleep 1000; exit 1")
    for _ in range(3):
        wait_for(events, "die")
    api.stop(container, timeout=0)
    assert api.get(container).restart_count >= 2
    api.update(container, HostConfig(restart_policy=RestartPolicy(name="no")))
    api.start(container)
    wait_for(events, "die")
    assert api.get(container).restart_count == 0
    api.remove(container, force=True)


def test_a_container_without_memory_says_so(engine: Any, events: Queue) -> None:
    size = 8 << 20
    host = HostConfig(network_mode="none", memory=size, memory_swap=size)
    container = engine.create("tail", "/dev/zero", host=host)
    engine.engine.containers.start(container)
    assert wait_for(events, "oom").actor_id == container
    assert wait_for(events, "die").attributes["exitCode"] == "137"
    assert engine.engine.containers.get(container).state.oom_killed
    engine.engine.containers.remove(container)
