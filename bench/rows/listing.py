"""The list of many containers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.engines.base import Engine
from bench.http import Api
from bench.image import NAME
from bench.processes import CommandError
from bench.rows.base import Row

_PARALLEL = 10
_LISTS = 5


class Listing(Row):
    """All containers, through the API; of some rounds the quickest, since others disturb."""

    target = 0.5
    rounds_at_most = 3

    def __init__(self, key: str, *, standing: int, running: int) -> None:
        self.key = key
        self.title = f"list of {standing} containers, {running} running"
        self._standing = standing
        self._running = running

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[object]:
        """The containers, made once for all rounds."""
        containers: list[str] = []
        with ThreadPoolExecutor(_PARALLEL) as pool:
            try:
                starts = [number < self._running for number in range(self._standing)]
                containers += pool.map(lambda start: _make(engine, start=start), starts)
                yield None
            finally:
                list(pool.map(lambda container: _remove(engine, container), containers))

    def sample(self, engine: Engine, setting: object) -> float:
        api = engine.api()
        try:
            return min(self._once(api) for _ in range(_LISTS))
        finally:
            api.close()

    def _once(self, api: Api) -> float:
        started = time.perf_counter()
        api.request("GET", "/v1.41/containers/json?all=1")
        body = api.getresponse().read()
        elapsed = time.perf_counter() - started
        if body.count(b'"HostConfig"') < self._standing:
            raise CommandError("the list is not whole")
        return elapsed * 1000


def _make(engine: Engine, *, start: bool) -> str:
    api = engine.api()
    try:
        container = api.create(NAME, ["sleep", "3600"], "none")
        if start:
            api.start(container)
        return container
    finally:
        api.close()


def _remove(engine: Engine, container: str) -> None:
    api = engine.api()
    try:
        api.remove(container)
    finally:
        api.close()
