"""Removes the links of endpoints behind the caller's back.

Removing a link waits for grace periods of the kernel, 20 to 50 ms, whether it is one link or
fifty. So it is done in a thread, all that has queued up meanwhile at once, and does not delay the
end of a container. An endpoint keeps its addresses until its link is gone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from wherry.network.api import Endpoint
from wherry.sys.faults import reach
from wherry.sys.netlink.route import RouteConnection

log = logging.getLogger(__name__)


class Reaper:
    """One thread, started with the first removal."""

    def __init__(self, group: int, released: Callable[[Sequence[Endpoint]], None]) -> None:
        """``released`` is called, in the thread, with endpoints whose links are gone."""
        self._group = group
        self._released = released
        self._queue: list[Endpoint] = []
        self._busy = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def remove(self, endpoint: Endpoint) -> None:
        with self._changed:
            self._queue.append(endpoint)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wherry-reaper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all links that were given so far are gone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._busy)

    def close(self) -> None:
        """Finish what is queued and stop. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        route = RouteConnection()
        try:
            while batch := self._next_batch():
                self._remove(route, batch)
        finally:
            route.close()

    def _next_batch(self) -> list[Endpoint]:
        """All that is queued; empty at the end."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue or self._closed)
            batch, self._queue = self._queue, []
            self._busy = bool(batch)
            return batch

    def _remove(self, route: RouteConnection, batch: Sequence[Endpoint]) -> None:
        names = [endpoint.host_interface for endpoint in batch if endpoint.host_interface]
        try:
            remove_links(route, names, self._group)
            reach("endpoint.unlinked")
            self._released(batch)
        except Exception as error:  # noqa: BLE001 - the thread goes on; reconcile() tries again
            log.error("cannot remove the links %s: %s", ", ".join(names), error)


def remove_links(route: RouteConnection, names: Sequence[str], group: int) -> None:
    """Remove links in one go; those that are gone already (with their namespace) are fine."""
    if len(names) == 1:
        route.delete_link(names[0])
    elif names:
        route.delete_links(names, group)
