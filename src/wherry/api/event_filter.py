"""Which events a client of ``GET /events`` asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wherry.engine.filters import check_names, labels_match
from wherry.engine.records import Event

_KINDS = ("container", "daemon", "image", "network", "volume", "builder")
_SWARM = ("config", "node", "plugin", "secret", "service")
_NAMES = (*_KINDS, *_SWARM, "event", "label", "scope", "type")


def event_matcher(filters: Mapping[str, Sequence[str]]) -> Callable[[Event], bool]:
    """A predicate; values of one name are alternatives, names add up. InvalidArgument for a
    name that does not exist."""
    check_names(filters, _NAMES)

    def matches(event: Event) -> bool:
        return all(_matches(event, name, values) for name, values in filters.items() if values)

    return matches


def _matches(event: Event, name: str, values: Sequence[str]) -> bool:
    if name == "event":
        return event.action in values or event.action.partition(":")[0] in values
    if name == "type":
        return event.type in values
    if name == "scope":
        return "local" in values
    if name == "label":
        return labels_match(values, event.attributes)
    return _is_about(event, name, values)


def _is_about(event: Event, kind: str, values: Sequence[str]) -> bool:
    """The object itself by id (or its beginning) or name; for an image, also those made of it."""
    names = {event.attributes.get("name", "")}
    if kind == "image":
        names.add(event.attributes.get("image", ""))
        names |= {name.rpartition(":")[0] for name in names if ":" in name}
    elif event.type != kind:
        names = {event.attributes.get(kind, "")}
        return bool(names & set(values)) and event.type == "network"
    return any(value and (event.actor_id.startswith(value) or value in names) for value in values)
