"""config-linux.md, "Seccomp": a listener, and the agent that it is handed to."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import PATIENCE, Bundles, Config

pytestmark = pytest.mark.root

# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV and _SEND, struct seccomp_notif and _notif_resp
RECEIVE, SEND = 0xC0502100, 0xC0182101
NOTICE_SIZE, ANSWER = 80, struct.Struct("=QqiI")
EXDEV = 18


class Agent(threading.Thread):
    """Refuses every call that it is asked about; keeps what it was told."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.told: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(PATIENCE)
        self._listener.bind(str(path))
        self._listener.listen()

    def run(self) -> None:
        try:
            while True:
                self._serve()
        except OSError:
            pass  # closed: nobody comes any more

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 2)
        self.told.append(json.loads(data))
        assert len(fds) == 1
        notice = array.array("B", bytes(NOTICE_SIZE))
        fcntl.ioctl(fds[0], RECEIVE, notice)
        (identity,) = struct.unpack_from("=Q", notice)
        fcntl.ioctl(fds[0], SEND, ANSWER.pack(identity, 0, -EXDEV, 0))
        os.close(fds[0])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    made.start()
    yield made
    made.close()


def asking(path: Path, *names: str) -> Config:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path / "agent"),
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
    }


@pytest.mark.parametrize("privileges", [True, False])
def test_an_agent_decides(oci: Bundles, agent: Agent, tmp_path: Path, privileges: bool) -> None:
    def edit(config: Config) -> None:
        config["linux"]["seccomp"] = asking(tmp_path, "mkdir", "mkdirat")
        config["process"]["noNewPrivileges"] = not privileges
        config["annotations"] = {"a": "b"}

    done = oci.run("mkdir", "/new", edit=edit)
    assert "Invalid cross-device link" in done.stderr
    (told,) = agent.told
    assert (told["fds"], told["metadata"]) == (["seccompFd"], "for the agent")
    assert told["state"]["annotations"] == {"a": "b"}
    assert told["state"]["status"] in ("creating", "created")
    assert told["pid"] == told["state"]["pid"] > 0


def test_an_exec_has_a_listener_of_its_own(oci: Bundles, agent: Agent, tmp_path: Path) -> None:
    def edit(config: Config) -> None:
        config["linux"]["seccomp"] = asking(tmp_path, "mkdir", "mkdirat")

    long = oci.start("sh", "-c", "mkdir /second; sleep 100", edit=edit)
    done = oci.call("exec", long, "mkdir", "/new", check=False)
    assert "Invalid cross-device link" in done.stderr
    told = agent.told[-1]
    assert told["state"]["status"] == "running"
    assert told["state"]["pid"] == oci.state(long)["pid"] != told["pid"]


def test_an_agent_that_is_not_there_is_an_error(oci: Bundles, tmp_path: Path) -> None:
    profile = asking(tmp_path / "nowhere", "mkdir")
    done = oci.run("true", edit=lambda config: config["linux"].update(seccomp=profile))
    assert done.returncode == 1
    assert "seccomp agent" in done.stderr


def test_an_agent_that_nobody_asks_is_not_needed(oci: Bundles, tmp_path: Path) -> None:
    profile = asking(tmp_path / "nowhere")
    profile["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]
    done = oci.run("true", edit=lambda config: config["linux"].update(seccomp=profile))
    assert done.returncode == 0
