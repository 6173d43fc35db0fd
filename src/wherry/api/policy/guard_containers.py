"""Containers, their files and the processes started in them, as a policy shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from wherry.api.policy.powers import (
    check_endpoints,
    check_powers,
    granted_bind,
    need_privileged,
    places_of_binds,
)
from wherry.api.policy.view import Part
from wherry.engine.api import NO_FILTERS, Created, Filters, PruneReport
from wherry.engine.mounts.planning import NO_PLACES
from wherry.engine.records import Container, Exec, ExecOptions
from wherry.errors import NotFound, WherryError
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig

_OF_ONE = frozenset(
    """
    stop kill pause unpause remove rename resize size wait attach logs top changes stats log_details
    detached
    """.split()
)
"""What can be asked of any container that is shown, without further rules."""


class GuardedContainers(Part):
    def __getattr__(self, name: str) -> Any:
        if name not in _OF_ONE:
            super().__getattr__(name)
        work: Callable[..., Any] = getattr(self._engine.containers, name)

        def of_one(ref: str, *args: Any, **kwargs: Any) -> Any:
            return work(self._view.container(ref).id, *args, **kwargs)

        return of_one

    def get(self, ref: str) -> Container:
        return self._view.container(ref)

    def list(
        self, *, running_only: bool, limit: int = 0, filters: Filters = NO_FILTERS
    ) -> tuple[Container, ...]:
        found = self._engine.containers.list(
            running_only=running_only and not limit, limit=0, filters=filters
        )
        mine = tuple(c for c in found if self._policy.carries(c.config.labels))
        return mine[:limit] if limit else mine

    def create(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        *,
        platform: str = "",
        host_ca: bool | None = None,
        places: Mapping[str, str] = NO_PLACES,
    ) -> Created:
        """``places`` are the policy's to tell."""
        self._view.base_image(config.image)
        labels = self._policy.labelled(config.labels)
        checked = check_powers(self._view, host)
        check_endpoints(self._view, networking)
        return self._engine.containers.create(
            name,
            msgspec.structs.replace(config, labels=labels),
            checked,
            networking,
            platform=platform,
            host_ca=host_ca,
            places=places_of_binds(self._view, checked),
        )

    def start(self, ref: str) -> None:
        self._engine.containers.start(self._startable(ref))

    def restart(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        self._engine.containers.restart(self._startable(ref), timeout=timeout, signal=signal)

    def _startable(self, ref: str) -> str:
        """A link may stand since its creation where a granted directory was. Only what was made
        through a socket is looked at: others' mounts are their maker's choice."""
        container = self._view.container(ref)
        if self._policy.labels:
            for mount in container.mounts:
                if mount.type == "bind":
                    granted_bind(self._view, mount.source, writable=mount.rw)
        return container.id

    def update(self, ref: str, wanted: HostConfig, *changes: Any) -> tuple[str, ...]:
        """Only limits: ports and mounts are what a container was admitted with."""
        container = self._view.container(ref)
        for change in changes:
            if change != type(change)():
                raise self._policy.refusal("a change of ports or mounts", "no grant is about it")
        return self._engine.containers.update(container.id, check_powers(self._view, wanted))

    def prune(self, filters: Filters = NO_FILTERS) -> PruneReport:
        return self._engine.containers.prune(own_only(self._policy.labels, filters))


def own_only(labels: dict[str, str], filters: Filters) -> dict[str, tuple[str, ...]]:
    """Filters that choose nothing without these labels."""
    wanted = tuple(f"{key}={value}" for key, value in labels.items())
    found = {name: tuple(values) for name, values in filters.items()}
    if wanted:
        found["label"] = (*found.get("label", ()), *wanted)
    return found


class GuardedExecs(Part):
    def _mine(self, exec_id: str) -> Exec:
        found = self._engine.execs.get(exec_id)
        try:
            self._view.container(found.container_id)
        except NotFound:
            raise NotFound(f"No such exec instance: {exec_id}") from None
        return found

    def create(self, ref: str, options: ExecOptions) -> str:
        if options.privileged:
            need_privileged(self._policy)
        return self._engine.execs.create(self._view.container(ref).id, options)

    def get(self, exec_id: str) -> Exec:
        return self._mine(exec_id)

    def start(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, int] | None = None
    ) -> Any:
        found = self._mine(exec_id)
        return self._engine.execs.start(found.id, detach=detach, console_size=console_size)

    def expect(self, exec_id: str) -> None:
        self._engine.execs.expect(self._mine(exec_id).id)

    def begin(
        self,
        exec_id: str,
        *,
        console_size: tuple[int, int] | None = None,
        say: Callable[[WherryError], bytes],
    ) -> Any:
        found = self._mine(exec_id)
        return self._engine.execs.begin(found.id, console_size=console_size, say=say)

    def exited(self, exec_id: str) -> Any:
        return self._engine.execs.exited(self._mine(exec_id).id)

    def resize(self, exec_id: str, rows: int, columns: int) -> None:
        self._engine.execs.resize(self._mine(exec_id).id, rows, columns)

    def detached(self, exec_id: str) -> None:
        self._engine.execs.detached(self._mine(exec_id).id)


class GuardedFiles(Part):
    def stat(self, ref: str, path: str) -> Any:
        return self._engine.files.stat(self._view.container(ref).id, path)

    def get(self, ref: str, *args: Any) -> None:
        self._engine.files.get(self._view.container(ref).id, *args)

    def put(self, ref: str, *args: Any, **kwargs: Any) -> None:
        self._engine.files.put(self._view.container(ref).id, *args, **kwargs)

    def export(self, ref: str, output: Callable[[bytes], None]) -> None:
        self._engine.files.export(self._view.container(ref).id, output)
