"""Rows of many containers: their memory, how fast they go, and what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.engines.base import Engine
from bench.image import NAME
from bench.processes import family, parent, pss
from bench.rows.base import Row

_IDLE = 200
_PARALLEL = 10
_SEQUENTIAL = 500
_WARM = 50
_MB = 1_000_000
_SPEAKING = ["sh", "-c", "echo something to keep; exec sleep 3600"]


def _start_one(engine: Engine) -> str:
    api = engine.api()
    try:
        container = api.create(NAME, _SPEAKING, "none")
        api.start(container)
        return container
    finally:
        api.close()


def _remove_one(engine: Engine, container: str) -> None:
    api = engine.api()
    try:
        api.remove(container)
    finally:
        api.close()


def _remove_all(engine: Engine, containers: list[str]) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(lambda container: _remove_one(engine, container), containers))


@contextmanager
def _standing(engine: Engine) -> Iterator[list[str]]:
    """Containers that have printed a line and then do nothing; the caller may empty the list."""
    containers: list[str] = []
    try:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            containers += pool.map(lambda _: _start_one(engine), range(_IDLE))
        yield containers
    finally:
        _remove_all(engine, containers)


class Removal(Row):
    """All of many idle containers are removed, several at a time."""

    key = "removal"
    title = f"removal of {_IDLE} idle containers, {_PARALLEL} at a time"
    unit = "/s"
    more_is_better = True
    target = 8.0
    rounds_at_most = 1

    def sample(self, engine: Engine, setting: object) -> float:
        with _standing(engine) as containers:
            started = time.perf_counter()
            _remove_all(engine, containers)
            elapsed = time.perf_counter() - started
            containers.clear()
        return _IDLE / elapsed


class SpeakingMemory(Row):
    """What stays beside each of many containers that have printed something."""

    key = "memory-speaking"
    title = f"helper of one container that printed, of {_IDLE} (PSS)"
    unit = "MB"
    limit = 1.5
    rounds_at_most = 1

    def sample(self, engine: Engine, setting: object) -> float:
        with _standing(engine) as containers:
            api = engine.api()
            helpers = {parent(api.pid(container)) for container in containers}
            api.close()
            return pss(helpers) / _IDLE / _MB


class Growth(Row):
    """How much more memory an engine holds after many containers that came and went."""

    key = "growth"
    title = f"growth over {_SEQUENTIAL} create+start+remove (PSS)"
    unit = "MB"
    limit = 5.0
    rounds_at_most = 1

    def sample(self, engine: Engine, setting: object) -> float:
        self._cycle(engine, _WARM)
        before = pss(family(engine.pid()))
        self._cycle(engine, _SEQUENTIAL)
        return (pss(family(engine.pid())) - before) / _MB

    def _cycle(self, engine: Engine, count: int) -> None:
        api = engine.api()
        for _ in range(count):
            container = api.create(NAME, ["true"], "none")
            api.start(container)
            api.wait(container)
            api.remove(container)
        api.close()
