"""Which containers a list or a prune means: ``ps``, its filters, and their order."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from wherry.engine.filters import as_bool, as_time, check_names, labels_match, wrong_value
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import InvalidArgument, NotFound
from wherry.store.api import Images

Test = Callable[[Container], bool]
_LAST_PORT = 65535
PRUNE_FILTERS = ("label", "label!", "until")
_HEALTH = ("starting", "healthy", "unhealthy", "none")
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def list_containers(
    table: ContainerTable,
    images: Images,
    running_only: bool,
    limit: int,
    filters: Mapping[str, Sequence[str]],
) -> tuple[Container, ...]:
    """Newest first. A filter on the status, or a limit, includes those that do not run."""
    tests = _tests(table, images, filters)
    wide = not running_only or limit > 0 or bool({"status", "exited"} & set(filters))
    records = [entry.record for entry in table]
    records.sort(key=lambda record: record.created_ns, reverse=True)
    chosen = (
        record
        for record in records
        if (wide or record.state.running) and all(test(record) for test in tests)
    )
    return tuple(chosen)[: limit if limit > 0 else None]


def _tests(
    table: ContainerTable, images: Images, filters: Mapping[str, Sequence[str]]
) -> list[Test]:
    makers: dict[str, Callable[[Sequence[str]], Test]] = {
        "id": lambda values: lambda record: any(record.id.startswith(v) for v in values),
        "name": _by_name,
        "label": lambda values: lambda record: labels_match(values, record.config.labels),
        "status": _by_status,
        "exited": _by_exit_code,
        "ancestor": lambda values: _by_ancestor(images, values),
        "before": lambda values: _by_age(table, values, before=True),
        "since": lambda values: _by_age(table, values, before=False),
        "network": lambda values: lambda record: bool(set(values) & _networks(record)),
        "volume": lambda values: lambda record: bool(set(values) & _volumes(record)),
        "publish": lambda values: _by_ports(values, _published),
        "expose": lambda values: _by_ports(values, _exposed),
        "health": _by_health,
        # Windows has two kinds; here each container has the one that there is.
        "isolation": lambda values: lambda record: True,
        "is-task": lambda values: lambda record: not as_bool("is-task", values),
    }
    check_names(filters, makers, ("is-task",))
    return [makers[name](values) for name, values in filters.items() if values]


def _by_name(values: Sequence[str]) -> Test:
    try:
        patterns = [re.compile(value) for value in values]
    except re.error as error:
        raise InvalidArgument(f"invalid filter 'name': {error}") from None
    # Both forms, so that ^name$ and ^/name$ find it, as with Docker.
    return lambda record: any(
        pattern.search(name) for pattern in patterns for name in (record.name, f"/{record.name}")
    )


def _by_status(values: Sequence[str]) -> Test:
    for value in values:
        if value not in _STATUSES:
            raise InvalidArgument(f"invalid filter 'status={value}'")
    return lambda record: record.state.status in values


def _by_exit_code(values: Sequence[str]) -> Test:
    if not all(value.lstrip("-").isdigit() for value in values):
        raise wrong_value("exited", values)
    codes = {int(value) for value in values}
    return lambda record: (
        record.state.started_ns > 0 and not record.state.running and record.state.exit_code in codes
    )


def _by_ancestor(images: Images, values: Sequence[str]) -> Test:
    found = set()
    for value in values:
        try:
            found.add(images.get(value).id)
        except NotFound:
            continue
    return lambda record: record.image_id in found


def _by_age(table: ContainerTable, values: Sequence[str], *, before: bool) -> Test:
    limits = [table.find(value).record.created_ns for value in values]
    if before:
        return lambda record: all(record.created_ns < limit for limit in limits)
    return lambda record: all(record.created_ns > limit for limit in limits)


def _by_health(values: Sequence[str]) -> Test:
    for value in values:
        if value not in _HEALTH:
            raise InvalidArgument(f"unrecognized filter value for health: {value}")
    return lambda record: (record.state.health.status if record.state.health else "none") in values


def _networks(record: Container) -> set[str]:
    ids = {endpoint.network_id for endpoint in record.endpoints.values()}
    return ids | set(record.networking)


def _volumes(record: Container) -> set[str]:
    return {name for m in record.mounts for name in (m.name, m.destination, m.source) if name}


_Range = tuple[int, int, str]  # first and last port, protocol


def _by_ports(values: Sequence[str], ports_of: Callable[[Container], Iterable[_Range]]) -> Test:
    """``80``, ``80/udp``, ``8000-8080/tcp``; without a protocol any will do."""
    wanted = [_parse_range(value) for value in values]
    return lambda record: any(
        first <= own_last and own_first <= last and protocol in ("", own_protocol)
        for own_first, own_last, own_protocol in ports_of(record)
        for first, last, protocol in wanted
    )


def _parse_range(text: str) -> _Range:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", text)
    if match is None or max(int(match[1]), int(match[2] or 0)) > _LAST_PORT:
        raise InvalidArgument(f"invalid port in a filter: {text!r} (want 80, 80/tcp or 80-90/tcp)")
    return int(match[1]), int(match[2] or match[1]), match[3] or ""


def _published(record: Container) -> Iterator[_Range]:
    for port in record.ports:
        yield port.container_port, port.container_port, port.protocol
        yield port.host_port, port.host_port, port.protocol


def _exposed(record: Container) -> Iterator[_Range]:
    for text in (*(record.config.exposed_ports or ()), *(record.host.port_bindings or ())):
        first, last, protocol = _parse_range(text)
        yield first, last, protocol or "tcp"


def prunable(
    table: ContainerTable, filters: Mapping[str, Sequence[str]], known: Sequence[str]
) -> list[Entry]:
    """Entries that do not run and that the filters mean."""
    check_names(filters, known)
    now = time.time_ns()
    limits = [as_time(value, now) for value in filters.get("until", ())]

    def meant(record: Container) -> bool:
        labels = record.config.labels
        return (
            not record.state.running
            and record.state.status != "removing"
            and all(record.created_ns < limit for limit in limits)
            and labels_match(filters.get("label", ()), labels)
            and not any(labels_match((value,), labels) for value in filters.get("label!", ()))
        )

    return [entry for entry in table if meant(entry.record)]
