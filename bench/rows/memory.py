"""Rows of memory: proportional set sizes, which count a shared page once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.engines.base import Engine
from bench.image import NAME
from bench.processes import family, parent, pss
from bench.rows.base import Row

_IDLE = 20
_MB = 1_000_000


class EngineMemory(Row):
    """All processes of an engine that has no container."""

    key = "memory-engine"
    title = "idle engine (PSS)"
    unit = "MB"
    limit = 70.0
    rounds_at_most = 3

    def sample(self, engine: Engine, setting: object) -> float:
        return pss(family(engine.pid())) / _MB


@contextmanager
def _idle_containers(engine: Engine) -> Iterator[list[int]]:
    """The processes of containers that do nothing."""
    api = engine.api()
    containers = []
    try:
        for _ in range(_IDLE):
            containers.append(api.create(NAME, ["sleep", "3600"], "none"))
            api.start(containers[-1])
        yield [api.pid(container) for container in containers]
    finally:
        for container in containers:
            api.remove(container)


class HelperMemory(Row):
    """What stays beside each container: a monitor or shim, the parent of its first process."""

    key = "memory-helper"
    title = f"helper of one idle container, of {_IDLE} (PSS)"
    unit = "MB"
    limit = 1.5
    rounds_at_most = 1

    def sample(self, engine: Engine, setting: object) -> float:
        with _idle_containers(engine) as pids:
            return pss({parent(pid) for pid in pids}) / _IDLE / _MB


class WholeMemory(Row):
    """How much more all processes of the engine hold, for each container, its own left out."""

    key = "memory-container"
    title = f"all that one idle container costs, of {_IDLE} (PSS)"
    unit = "MB"
    rounds_at_most = 1

    def sample(self, engine: Engine, setting: object) -> float:
        before = pss(family(engine.pid()))
        with _idle_containers(engine) as pids:
            helpers = {parent(pid) for pid in pids}
            mine = (family(engine.pid()) | helpers) - set(pids)
            return (pss(mine) - before) / _IDLE / _MB
