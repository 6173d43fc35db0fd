"""The host was restarted and the engine's run directory outlived it, as on a disk: what is written
there of processes speaks of another boot, and their numbers belong to others now."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.findings import wait_until_settled
from tests.faults.victims import kill, parent_of

from wherry.client import Client
from wherry.runtime.state import start_time_ticks

pytestmark = pytest.mark.root

_OTHER_BOOT = "00000000-1111-2222-3333-444444444444"
_PROGRAM = ["sleep", "100000"]


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that has nothing to do with the engine."""
    with subprocess.Popen(_PROGRAM) as process:
        yield process.pid
        process.kill()


def test_nothing_is_believed_of_another_boot(
    new_engine: Callable[..., EngineProcess], stranger: int
) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    before = {name: _launch(client, name, policy) for name, policy in _POLICIES.items()}
    engine.kill()
    for pid in before.values():
        kill(parent_of(pid))  # its monitor, without which it dies and nothing is written
    for path in engine.run.glob("containers/*/**/state.json"):
        _move_to_another_boot(path, stranger)

    client = engine.start()
    once, always = (client.containers.get(name).inspect().state for name in _POLICIES)
    assert (once.status, once.exit_code) == ("exited", 255)
    assert always.status == "running"
    assert always.pid not in (stranger, before["always"])
    assert start_time_ticks(stranger)
    assert not wait_until_settled(engine, client)
    assert client.containers.get("always").exec(["true"]).exit_code == 0
    client.containers.get("once").start()


_POLICIES = {"once": "no", "always": "always"}


def _launch(client: Client, name: str, policy: str) -> int:
    """A container with an exec; its process."""
    made = client.containers.launch(
        "busybox", _PROGRAM, name=name, restart=policy, ports={80: ("127.0.0.1", 0)}
    )
    made.open(_PROGRAM).close()
    return made.inspect().state.pid


def _move_to_another_boot(path: Path, stranger: int) -> None:
    state = json.loads(path.read_bytes())
    state.update(boot_id=_OTHER_BOOT, pid=stranger, start_time_ticks=start_time_ticks(stranger))
    path.write_text(json.dumps(state))
