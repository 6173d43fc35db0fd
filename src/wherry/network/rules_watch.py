"""Puts the engine's rules back when somebody else has removed or changed them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from wherry.errors import WherryError
from wherry.sys.netlink.nft_events import Change, NftEvents

log = logging.getLogger(__name__)

_PAUSE = 0.1
"""Seconds between two repairs, so that a program that removes our rules again and again does not
keep the engine busy."""


class RulesWatch:
    """A thread that hears of changes to nf_tables, in the namespace of who makes this, and since
    then."""

    def __init__(self, table: str, own_port: int, repair: Callable[[], None]) -> None:
        """``own_port`` is that of our own changes (:attr:`Firewall.port`). Nothing is repaired
        before :meth:`start`."""
        self._table = table
        self._own_port = own_port
        self._repair = repair
        self._closed = threading.Event()
        self._events = NftEvents()
        self._thread = threading.Thread(target=self._run, name="wherry-rules", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while changes := self._events.wait():
            if needs_repair(changes, self._table, self._own_port):
                self._repair_once()
                self._closed.wait(_PAUSE)

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
            if self._thread.ident:
                self._thread.join()
            self._events.close()


def needs_repair(changes: Sequence[Change], table: str, own_port: int) -> bool:
    """Whether the last who changed the table was somebody else, or that is not known.

    The kernel tells of changes in the order of the transactions, and of ours only where it makes
    the table (changes of elements are not told). What others did before that is undone by it: the
    end of a flush is often told when its beginning was answered already.
    """
    authors = [one.port for one in changes if one.table == table]
    missed = any(not one.table for one in changes)
    return missed or (bool(authors) and authors[-1] != own_port)
