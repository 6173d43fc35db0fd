"""Puts the engine's rules back when somebody else has removed or changed them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from wherry.errors import WherryError
from wherry.sys.netlink.nft_events import Change, NftEvents

log = logging.getLogger(__name__)

_PAUSE = 0.1
"""Seconds between two repairs, so that a program that removes our rules again and again does not
keep the engine busy."""


class RulesWatch:
    """A thread that hears of changes to nf_tables, in the namespace of who makes this."""

    def __init__(self, table: str, own_port: int, repair: Callable[[], None]) -> None:
        """``own_port`` is that of our own changes (:attr:`Firewall.port`)."""
        self._table = table
        self._own_port = own_port
        self._repair = repair
        self._closed = threading.Event()
        self._events = NftEvents()
        self._thread = threading.Thread(target=self._run, name="wherry-rules", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while changes := self._events.wait():
            if any(map(self._concerns_us, changes)):
                self._repair_once()
                self._closed.wait(_PAUSE)

    def _concerns_us(self, change: Change) -> bool:
        return change.table in ("", self._table) and change.port != self._own_port

    def _repair_once(self) -> None:
        try:
            self._repair()
        except (OSError, WherryError) as error:
            log.error("cannot put the packet filter's rules back: %s", error)

    def close(self) -> None:
        """Idempotent; returns when the thread has ended."""
        if not self._closed.is_set():
            self._closed.set()
            self._events.stop()
            self._thread.join()
            self._events.close()
