"""Engines as processes that may be killed, several of them on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.patience import patience

from wherry.client import Client
from wherry.daemon.wiring import open_engine
from wherry.engine.settings import EngineSettings
from wherry.errors import WherryError

_PATIENCE = patience(60.0)


@dataclass
class EngineProcess:
    """An engine with roots of its own; ``start`` may follow ``kill`` again and again."""

    data: Path
    run: Path
    process: subprocess.Popen[bytes] | None = None
    clients: list[Client] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"unix://{self.run}/w.sock"

    @property
    def settings(self) -> EngineSettings:
        return EngineSettings(data_root=str(self.data), exec_root=str(self.run))

    def start(self) -> Client:
        """Start and wait until it answers."""
        arguments = ["--data-root", self.data, "--exec-root", self.run, "-H", self.host]
        arguments += ["--pidfile", self.run / "pid"]
        with open(f"{self.run}.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wherry.daemon", *map(str, arguments)], stderr=log
            )
        client = Client(self.host, timeout=_PATIENCE)
        self.clients.append(client)
        deadline = time.monotonic() + _PATIENCE
        while not _answers(client):
            log_text = Path(f"{self.run}.log").read_text()
            assert self.process.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.005)  # nothing announces that a socket is there
        return client

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(_PATIENCE)
            self.process = None

    def clear(self) -> None:
        """Remove all that the engine made on this machine."""
        self.kill(signal.SIGTERM)
        for client in self.clients:
            client.close()
        engine = open_engine(self.settings)
        for container in engine.containers.list(running_only=False):
            engine.containers.remove(container.id, force=True, volumes=True)
        engine.networks.purge()
        engine.close()


def _answers(client: Client) -> bool:
    try:
        client.ping()
    except (WherryError, OSError):
        return False
    return True


@pytest.fixture
def new_engine(tmp_path: Path, leftovers: object) -> Iterator[Callable[..., EngineProcess]]:
    """Makes engines; all are cleared away in the end, before the search for leftovers."""
    made: list[EngineProcess] = []

    def make(data: Path | None = None) -> EngineProcess:
        number = len(made)
        run = tmp_path / f"run{number}"
        run.mkdir()
        made.append(EngineProcess(data or tmp_path / f"data{number}", run))
        return made[-1]

    yield make
    for engine in made:
        engine.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=True)
    yield place
    with suppress(OSError):
        os.sync()
    subprocess.run(["umount", str(place)], check=True)
