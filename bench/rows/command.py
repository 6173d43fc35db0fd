"""Rows of whole commands, the start of the command line included."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from bench.engines.base import Engine
from bench.image import NAME
from bench.rows.base import Row, timed


class DockerRun(Row):
    """Docker's command line on every engine."""

    def __init__(self, key: str, title: str, network: str, target: float | None = None) -> None:
        self.key, self.title, self.target = key, title, target
        self._network = network

    def suits(self, engine: Engine) -> bool:
        return shutil.which("docker") is not None

    def sample(self, engine: Engine, setting: object) -> float:
        flags = ["run", "--rm", f"--network={self._network}", NAME, "true"]
        return timed([*engine.docker(), *flags], engine)


class OwnRun(Row):
    """Each engine's own command line."""

    key = "own-run"
    title = "own command line: run --rm"

    def sample(self, engine: Engine, setting: object) -> float:
        return timed([*engine.cli(), "run", "--rm", NAME, "true"], engine)


class Exec(Row):
    key = "exec"
    title = "docker exec C true"
    target = 0.55

    def suits(self, engine: Engine) -> bool:
        return shutil.which("docker") is not None

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[str]:
        api = engine.api()
        container = api.create(NAME, ["sleep", "3600"], "none")
        try:
            api.start(container)
            yield container
        finally:
            api.remove(container)

    def sample(self, engine: Engine, setting: object) -> float:
        return timed([*engine.docker(), "exec", str(setting), "true"], engine)
