"""Published ports of a container that exists: more of them, or fewer, at once if it runs.

What is not asked for is not touched: a connection through another port goes on, and so does one
that was made through a port that is taken back.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from wherry.engine.networks.networking import Networking
from wherry.engine.networks.ports import parse_port, port_requests
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, PortBinding
from wherry.network.api import PortRequest, Protocol_, PublishedPort
from wherry.runtime.api import HeldPort, Process

Bindings = Mapping[str, tuple[PortBinding, ...] | None]
Key = tuple[int, Protocol_]

_NUMBERS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}


class _Change(msgspec.Struct, frozen=True):
    """What one call comes to."""

    host: HostConfig
    config: ContainerConfig
    removed: tuple[PublishedPort, ...]
    added: tuple[PortRequest, ...]

    @property
    def removal_comes_first(self) -> bool:
        """Whether a port of the host is to be given to another port of the container; else the
        new ones come first, since they may fail."""
        taken = {(one.protocol, one.host_port) for one in self.removed}
        return any(
            (one.protocol, port) in taken
            for one in self.added
            for port in range(one.host_port_first, max(one.host_port_first, one.host_port_last) + 1)
        )


class PortChanger:
    """Changes what a container publishes."""

    def __init__(self, table: ContainerTable, networking: Networking) -> None:
        self._table = table
        self._networking = networking

    def change_ports(self, ref: str, add: Bindings, remove: Sequence[str]) -> None:
        """Publish ports of a container, and take back others before it.

        ``remove`` names ports of the container, or of the host (``80/tcp``, ``8080``). Nothing is
        changed after an error: NotFound, InvalidArgument, Conflict if a port is taken.
        """
        entry = self._table.find(ref)
        with entry.lock:
            record = entry.record
            _check(record)
            change = _planned(record, add, remove)
            ports = self._apply(entry, record, change)
            self._table.save(
                entry,
                msgspec.structs.replace(
                    record, host=change.host, config=change.config, ports=ports
                ),
            )

    def _apply(self, entry: Entry, record: Container, change: _Change) -> tuple[PublishedPort, ...]:
        """What the container has published then."""
        process = entry.process
        if process is None or not record.endpoints:
            return record.ports
        kept = tuple(one for one in record.ports if one not in change.removed)
        if not change.removal_comes_first:
            added = self._add(record, process, change.added)
            self._remove(record, process, change.removed)
            return kept + added
        self._remove(record, process, change.removed)
        try:
            return kept + self._add(record, process, change.added)
        except BaseException:
            self._add(record, process, [_same_again(one) for one in change.removed])
            raise

    def _add(
        self, record: Container, process: Process, requests: Sequence[PortRequest]
    ) -> tuple[PublishedPort, ...]:
        if not requests:
            return ()
        publication = self._networking.publish_more(record, requests)
        try:
            process.hold(publication.sockets)
        except BaseException:
            self._networking.unpublish_some(record, publication.ports)
            raise
        finally:
            publication.close()
        return publication.ports

    def _remove(self, record: Container, process: Process, ports: Sequence[PublishedPort]) -> None:
        if ports:
            self._networking.unpublish_some(record, ports)
            process.release([_held(one) for one in ports])


def _check(record: Container) -> None:
    if record.state.status in ("removing", "dead"):
        raise Conflict('Container is marked for removal and cannot be "update".')
    if record.host.network_mode.startswith("container:"):
        raise InvalidArgument(
            "conflicting options: port publishing and the container type network mode"
        )


def _planned(record: Container, add: Bindings, remove: Sequence[str]) -> _Change:
    """InvalidArgument for what makes no sense."""
    host = record.host
    if remove:
        host = _explicit(record)
    bindings = _by_key(host.port_bindings or {})
    removed: list[PublishedPort] = []
    for text in remove:
        removed += _take_out(text, bindings, record.ports)
    for key, more in _by_key(add).items():
        bindings[key] = (*bindings.get(key, ()), *more)
    # Told in the words of the API, so that all of it is checked as at a container's creation.
    added = port_requests(ContainerConfig(), HostConfig(port_bindings=dict(add)))
    exposed = dict(record.config.exposed_ports or {})
    exposed |= {_text(key): {} for key in _by_key(add)}
    return _Change(
        host=msgspec.structs.replace(
            host, port_bindings={_text(key): found for key, found in bindings.items() if found}
        ),
        config=msgspec.structs.replace(record.config, exposed_ports=exposed or None),
        removed=tuple(dict.fromkeys(removed)),
        added=added,
    )


def _explicit(record: Container) -> HostConfig:
    """With ``publish_all_ports`` told port by port, so that one of them can be taken away."""
    if not record.host.publish_all_ports:
        return record.host
    bindings = dict(record.host.port_bindings or {})
    known = set(_by_key(bindings))
    for text in record.config.exposed_ports or {}:
        if parse_port(text) not in known:
            bindings[text] = (PortBinding(),)
    return msgspec.structs.replace(record.host, publish_all_ports=False, port_bindings=bindings)


def _by_key(bindings: Bindings) -> dict[Key, tuple[PortBinding, ...]]:
    found: dict[Key, tuple[PortBinding, ...]] = {}
    for text, some in bindings.items():
        key = parse_port(text)
        found[key] = (*found.get(key, ()), *(some or (PortBinding(),)))
    return found


def _text(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _take_out(
    text: str, bindings: dict[Key, tuple[PortBinding, ...]], ports: Iterable[PublishedPort]
) -> list[PublishedPort]:
    """Take a port out of the bindings; what is published of it. A port of the container wins over
    one of the host of the same number."""
    number, protocol = key = parse_port(text)
    if key in bindings:
        del bindings[key]
        return [one for one in ports if (one.container_port, one.protocol) == key]
    published = [one for one in ports if (one.host_port, one.protocol) == key]
    found = False
    for other, some in list(bindings.items()):
        if other[1] == protocol:
            rest = _without(some, number, any(_of(one) == other for one in published))
            found = found or rest != some
            bindings[other] = rest
    if not found:
        raise InvalidArgument(
            f"port {text} is not published, neither as the container's nor as the host's"
        )
    return published


def _of(port: PublishedPort) -> Key:
    return port.container_port, port.protocol


def _without(
    bindings: tuple[PortBinding, ...], host_port: int, is_published: bool
) -> tuple[PortBinding, ...]:
    """Without those that name a port of the host; else, if it is published, without one that
    leaves the choice to the engine."""
    rest = tuple(one for one in bindings if one.host_port != str(host_port))
    if rest != bindings or not is_published:
        return rest
    chosen = next((one for one in bindings if not one.host_port.isdecimal()), None)
    at = bindings.index(chosen) if chosen else len(bindings)
    return bindings[:at] + bindings[at + 1 :]


def _same_again(port: PublishedPort) -> PortRequest:
    return PortRequest(
        container_port=port.container_port,
        protocol=port.protocol,
        host_ip=port.host_ip,
        host_port_first=port.host_port,
    )


def _held(port: PublishedPort) -> HeldPort:
    kind, number = _NUMBERS[port.protocol]
    return HeldPort(int(kind), number, port.host_ip, port.host_port)
