"""Volumes, events and facts about the engine, as a policy shows them."""

from __future__ import annotations

from collections.abc import Callable

from wherry.api.policy.view import Part
from wherry.engine.events import Kind
from wherry.engine.records import Event
from wherry.engine.system_api import SystemInfo
from wherry.errors import NotFound
from wherry.volume.api import Volume


class GuardedVolumes(Part):
    def create(
        self,
        name: str | None = None,
        driver: str = "local",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Volume:
        """Options of the local driver name devices and directories of the host."""
        if driver != "local" or options:
            raise self._policy.refusal("a volume with driver options", "no grant is about it")
        if name:
            self._check_free(name)
        return self._engine.volumes.create(name, driver, {}, self._policy.labelled(labels))

    def _check_free(self, name: str) -> None:
        """To create one that exists would give it as it is."""
        try:
            found = self._engine.volumes.get(name)
        except NotFound:
            return
        if not self._view.shows_volume(found):
            raise self._policy.refusal(f"the volume {name}", "labels")

    def get(self, name: str) -> Volume:
        return self._view.volume(name)

    def list(self) -> tuple[Volume, ...]:
        return tuple(filter(self._view.shows_volume, self._engine.volumes.list()))

    def remove(self, name: str) -> None:
        self._engine.volumes.remove(self._view.volume(name).name)

    def path(self, name: str) -> str:
        return self._engine.volumes.path(self._view.volume(name).name)

    def usage(self, name: str) -> int:
        return self._engine.volumes.usage(self._view.volume(name).name)

    def users(self, name: str) -> tuple[str, ...]:
        return self._engine.volumes.users(self._view.volume(name).name)


class GuardedEvents(Part):
    """Events of containers carry their labels; what others do with other things is not shown."""

    def _shown(self, event: Event) -> bool:
        if not self._policy.labels:
            return True
        return event.type == "container" and self._policy.carries(event.attributes)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        def filtered(event: Event) -> None:
            if self._shown(event):
                callback(event)

        return self._engine.events.subscribe(filtered)

    def past(self, since_ns: int, until_ns: int) -> tuple[Event, ...]:
        return tuple(filter(self._shown, self._engine.events.past(since_ns, until_ns)))

    def pruned(self, kind: Kind, reclaimed: int) -> None:
        self._engine.events.pruned(kind, reclaimed)


class GuardedSystem(Part):
    def info(self) -> SystemInfo:
        return self._engine.system.info()
