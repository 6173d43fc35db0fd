"""The daemon as a process: locks, signals, and containers that outlive it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.patience import patience

pytestmark = pytest.mark.root


def _refusal(daemon: Any, *arguments: str) -> str:
    done = subprocess.run(
        daemon.arguments(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )
    assert done.returncode == 1
    return done.stderr


def test_a_second_engine_is_refused_in_one_sentence(daemon: Any, tmp_path: Path) -> None:
    said = _refusal(daemon, "-H", f"unix://{tmp_path}/other.sock")
    assert said.startswith(f"wherry daemon: another engine (process {daemon.process.pid}) uses the")
    assert said.count("\n") == 1
    assert not (tmp_path / "other.sock").exists()


def test_containers_outlive_the_engine(own_daemon: Any) -> None:
    daemon = own_daemon
    with contextlib.closing(docker.DockerClient(daemon.host)) as client:
        container = client.containers.run(
            "busybox", ["sh", "-c", "echo before; sleep 1000"], detach=True, network_mode="none"
        )
        pid = client.api.inspect_container(container.id)["State"]["Pid"]
        for how in (signal.SIGTERM, signal.SIGKILL):
            assert daemon.stop(how) == (0 if how == signal.SIGTERM else -how)
            assert Path(daemon.socket_path).exists() == (how == signal.SIGKILL)
            assert Path(f"/proc/{pid}").exists()
            daemon.start()
            found = json.loads(daemon.call("GET", f"/containers/{container.id}/json")[1])
            assert (found["State"]["Status"], found["State"]["Pid"]) == ("running", pid)
            assert container.logs() == b"before\n"
