"""The part of the engine's seam (``engine.api``) that is about the engine itself, and what it
tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from wherry.engine.events import Kind
from wherry.engine.records import Event


class EventApi(Protocol):
    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back for each event from now on, from the engine's threads; must not block.
        Returns what ends the subscription."""
        ...

    def past(self, since_ns: int, until_ns: int) -> tuple[Event, ...]:
        """Events that are remembered (the last 1,000)."""
        ...

    def pruned(self, kind: Kind, reclaimed: int) -> None:
        """Tell that all unused things of a kind were removed; ``reclaimed`` is in bytes."""
        ...


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the engine and its host; ``GET /info`` and ``GET /version`` are made of them."""

    id: str
    name: str
    version: str
    data_root: str
    cgroup_version: str  # "1" or "2"
    cgroup_driver: str
    kernel_version: str
    operating_system: str
    architecture: str  # of Go: amd64
    cpus: int
    memory: int
    containers: int
    running: int
    paused: int
    stopped: int
    images: int
    security_options: tuple[str, ...]
    warnings: tuple[str, ...]
    labels: tuple[str, ...]
    http_proxy: str
    https_proxy: str
    no_proxy: str
    insecure_registries: tuple[str, ...]
    registry_mirrors: tuple[str, ...]
    debug: bool
    started_ns: int
    default_runtime: str
    runtimes: tuple[str, ...]
    live_restore: bool
    events_listeners: int
    goroutines: int  # threads, here
    file_descriptors: int


class SystemApi(Protocol):
    def info(self) -> SystemInfo: ...
