"""A daemon of the tests' own, as a process, with a busybox image; and clients for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.api.api.policies import Guarded, guarded_daemon
from tests.patience import patience

from wherry.daemon.wiring import open_engine
from wherry.engine.settings import EngineSettings

_PATIENCE = patience(60.0)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("wherry", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Daemon:
    """``stop`` and ``start`` may be called again and again on the same roots."""

    root: Path
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()

    @property
    def socket_path(self) -> str:
        return str(self.root / "w.sock")

    @property
    def host(self) -> str:
        return f"unix://{self.socket_path}"

    @property
    def settings(self) -> EngineSettings:
        return EngineSettings(data_root=str(self.root / "data"), exec_root=str(self.root / "exec"))

    def arguments(self, *more: str) -> list[str]:
        settings = self.settings
        roots = ["--data-root", settings.data_root, "--exec-root", settings.exec_root]
        config = self.root / "daemon.json"
        config.write_text("{}")
        return [sys.executable, "-m", "wherry.daemon", "--config-file", str(config), *roots, *more]

    def start(self) -> None:
        with open(self.root / "log", "ab") as log:
            own = ("-H", self.host, "--pidfile", str(self.root / "pid"), *self.options)
            self.process = subprocess.Popen(self.arguments(*own), stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            assert self.process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)  # nothing announces that a socket is there

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)

    def call(self, method: str, path: str, body: Any = None, *, by: str = "") -> tuple[int, bytes]:
        """``by`` is the path of another socket than the first."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        with contextlib.closing(_UnixConnection(by or self.socket_path)) as connection:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def clean_up(self) -> None:
        """Containers, then what the engine keeps on the host between its lives."""
        for container in json.loads(self.call("GET", "/containers/json?all=1")[1]):
            self.call("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        assert self.stop() == 0
        engine = open_engine(self.settings)
        engine.networks.purge()
        engine.close()
        for path in Path("/sys/fs/cgroup").glob(f"*/{self.settings.cgroup_root.strip('/')}"):
            path.rmdir()


@contextlib.contextmanager
def running_daemon(root: Path, *options: str) -> Iterator[Daemon]:
    started = Daemon(root, options=options)
    started.start()
    status, lines = started.call("POST", "/wherry/bootstrap?name=busybox")
    assert status == 200
    assert b"error" not in lines, lines
    yield started
    started.clean_up()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests."""
    with running_daemon(tmp_path_factory.mktemp("api")) as started:
        yield started


@pytest.fixture
def own_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that the test may stop and start."""
    with running_daemon(tmp_path_factory.mktemp("own")) as started:
        yield started


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    """docker-py."""
    with contextlib.closing(docker.DockerClient(daemon.host, timeout=_PATIENCE)) as made:
        yield made


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(daemon: Daemon, need: Callable[[str], None], tmp_path: Path) -> Cli:
    """The docker command line."""
    need("docker")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DOCKER_HOST": daemon.host,
        "DOCKER_BUILDKIT": "0",
        "DOCKER_CLI_HINTS": "false",
    }

    def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            check=False,
            text=True,
            env=environment,
            **{"timeout": _PATIENCE, **more},
        )

    return run


@pytest.fixture(scope="session")
def run_daemon() -> Callable[..., contextlib.AbstractContextManager[Daemon]]:
    """``run_daemon(root, *options)``: a daemon with options of its own."""
    return running_daemon


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A daemon with a job's and a reader's socket."""
    with guarded_daemon(running_daemon, tmp_path_factory.mktemp("policy")) as made:
        yield made
