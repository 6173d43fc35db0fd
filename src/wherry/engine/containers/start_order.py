"""In which order containers are started together: those that others need come first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wherry.engine.networks.requests import parse_link
from wherry.engine.records import Container
from wherry.engine.table import Entry
from wherry.errors import InvalidArgument, NotFound

_SHARED = "container:"


def in_order(entries: Iterable[Entry], find: Callable[[str], Entry]) -> list[Entry]:
    """Each after those whose namespaces it joins, that it is linked to, or whose volumes it has.

    ``find`` gives the entry of a name or id (NotFound). Where they need each other in a circle,
    the one that comes first is started first.
    """
    wanted = {entry.id: entry for entry in entries}
    ordered: dict[str, Entry] = {}
    begun: set[str] = set()

    def place(entry: Entry) -> None:
        if entry.id in begun:
            return
        begun.add(entry.id)
        for needed in _needed(entry.record, find):
            if needed in wanted:
                place(wanted[needed])
        ordered[entry.id] = entry

    for entry in wanted.values():
        place(entry)
    return list(ordered.values())


def _needed(record: Container, find: Callable[[str], Entry]) -> Iterable[str]:
    for ref in _references(record):
        try:
            yield find(ref).id
        except (NotFound, InvalidArgument):
            continue  # its own start will say so


def _references(record: Container) -> Iterable[str]:
    host = record.host
    for mode in (host.network_mode, host.ipc_mode, host.pid_mode):
        if mode and mode.startswith(_SHARED):
            yield mode.removeprefix(_SHARED)
    for link in host.links or ():
        yield parse_link(link)[0]
    for source in host.volumes_from or ():
        yield source.partition(":")[0]
