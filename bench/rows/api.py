"""Rows through the API, without a command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import cast

from bench.engines.base import Engine
from bench.http import Api
from bench.image import NAME
from bench.rows.base import Row

_BURST = 50
_PARALLEL = 10


class ApiCycle(Row):
    """Create, start, wait, remove on one kept connection."""

    key = "api"
    title = "API create+start+wait+remove, no network"
    target = 0.12

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[Api]:
        api = engine.api()
        try:
            yield api
        finally:
            api.close()

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(setting, Api)
        started = time.perf_counter()
        container = setting.create(NAME, ["true"], "none")
        setting.start(container)
        code = setting.wait(container)
        setting.remove(container)
        elapsed = time.perf_counter() - started
        assert code == 0
        return elapsed * 1000


class ExecCycle(Row):
    """Create, start and inspect one exec; the stream on a connection of its own, as clients do."""

    key = "exec-api"
    title = "API exec create+start+stream+inspect"
    target = 0.15

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[tuple[Api, str]]:
        api = engine.api()
        container = api.create(NAME, ["sleep", "3600"], "none")
        try:
            api.start(container)
            yield api, container
        finally:
            api.remove(container)
            api.close()

    def sample(self, engine: Engine, setting: object) -> float:
        api, container = cast("tuple[Api, str]", setting)
        started = time.perf_counter()
        code = api.execute(container, ["true"])
        elapsed = time.perf_counter() - started
        assert code == 0
        return elapsed * 1000


class Burst(Row):
    """Create and start many containers on the default network, several at a time."""

    key = "burst"
    title = f"{_BURST} starts, {_PARALLEL} at a time"
    unit = "/s"
    more_is_better = True
    target = 8.0
    rounds_at_most = 3

    def sample(self, engine: Engine, setting: object) -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            containers = list(pool.map(lambda _: _start_one(engine), range(_BURST)))
        elapsed = time.perf_counter() - started
        api = engine.api()
        for container in containers:
            api.remove(container)
        return _BURST / elapsed


def _start_one(engine: Engine) -> str:
    api = engine.api()
    try:
        container = api.create(NAME, ["sleep", "3600"], "bridge")
        api.start(container)
        return container
    finally:
        api.close()
