"""An engine of the tests' own, with a busybox image, on real files and the real kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.machine import groups_below
from tests.patience import patience

from wherry.daemon.wiring import open_engine
from wherry.engine.engine import Engine
from wherry.engine.settings import EngineSettings
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig

IMAGE = "busybox:latest"


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: bytes
    stderr: bytes


@dataclass
class TestEngine:
    """An engine and the shortest ways to use it."""

    __test__ = False

    engine: Engine
    settings: EngineSettings

    def create(
        self, *cmd: str, name: str = "", host: HostConfig | None = None, **config: Any
    ) -> str:
        wanted = ContainerConfig(image=IMAGE, cmd=cmd or None, **config)
        created = self.engine.containers.create(
            name, wanted, host or HostConfig(network_mode="none"), NetworkingConfig()
        )
        return created.id

    def run(self, *cmd: str, stdin: bytes | None = None, **options: Any) -> Outcome:
        """Create, attach, start, wait, remove."""
        interactive = stdin is not None
        container = self.create(*cmd, open_stdin=interactive, stdin_once=interactive, **options)
        containers = self.engine.containers
        try:
            stream = containers.attach(container, stdin=True, stdout=True, stderr=True)
            exited = containers.wait(container, "next-exit")
            with stream:
                containers.start(container)
                if stdin is not None:
                    stream.sendall(stdin)
                    stream.shutdown(socket.SHUT_WR)
                stdout, stderr = split_frames(read_all(stream))
            return Outcome(exited.result(patience(30)).exit_code, stdout, stderr)
        finally:
            containers.remove(container, force=True, volumes=True)


def read_all(stream: socket.socket) -> bytes:
    stream.settimeout(patience(100))
    parts = []
    while data := stream.recv(65536):
        parts.append(data)
    return b"".join(parts)


def split_frames(data: bytes) -> tuple[bytes, bytes]:
    """Standard output and standard error out of Docker's frames."""
    streams = {1: bytearray(), 2: bytearray()}
    while data:
        end = 8 + int.from_bytes(data[4:8], "big")
        streams[data[0]] += data[8:end]
        data = data[end:]
    return bytes(streams[1]), bytes(streams[2])


Opener = Callable[[], TestEngine]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> EngineSettings:
    root = tmp_path_factory.mktemp("engine")
    return EngineSettings(data_root=str(root / "data"), exec_root=str(root / "exec"))


@pytest.fixture(scope="module")
def engine(roots: EngineSettings) -> Iterator[TestEngine]:
    """One engine for all tests of a module; its networks are gone afterwards."""
    opened = open_engine(roots)
    opened.images.bootstrap(IMAGE, progress=lambda line: None)
    yield TestEngine(opened, roots)
    for container in opened.containers.list(running_only=False):
        opened.containers.remove(container.id, force=True, volumes=True)
    opened.networks.purge()
    opened.close()
    assert not list(Path(roots.exec_root, "containers").iterdir())


@pytest.fixture
def nothing_is_left(engine: TestEngine) -> Iterator[None]:
    """Each test removes what it made: containers, networks, volumes, and all that is behind."""
    before = _traces(engine)
    yield
    assert _traces(engine) == before


def _traces(engine: TestEngine) -> dict[str, object]:
    data, run = Path(engine.settings.data_root), Path(engine.settings.exec_root)
    mounts = Path("/proc/self/mountinfo").read_text()
    return {
        "containers": [c.name for c in engine.engine.containers.list(running_only=False)],
        "container directories": sorted(p.name for p in (data / "containers").iterdir()),
        "runtime directories": sorted(p.name for p in (run / "containers").glob("*")),
        "volumes": [v.name for v in engine.engine.volumes.list()],
        "networks": [n.name for n in engine.engine.networks.list()],
        "mounts": sorted(line for line in mounts.splitlines() if str(data) in line),
        "groups": sorted(_groups(engine.settings.instance)),
    }


def _groups(instance: str) -> Iterator[str]:
    """Control groups of this engine's containers."""
    for group in groups_below("/sys/fs/cgroup"):
        if instance in os.path.dirname(group):
            yield group
