"""A container's ``/etc/hosts``, ``/etc/hostname`` and ``/etc/resolv.conf``, written at each start.

They are files of the container's own directory on the host, mounted over those of the image, so
that no layer ever holds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from wherry.engine.networks.legacy_links import legacy_links
from wherry.engine.networks.networking import Connection
from wherry.engine.networks.requests import is_user_defined, network_mode
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.spec import NameFiles
from wherry.engine.table import ContainerTable
from wherry.network.api import Endpoint
from wherry.network.names import (
    HOST_RESOLV_CONF,
    UPSTREAM_RESOLV_CONF,
    ResolverSettings,
    container_resolv_conf,
    embedded_resolv_conf,
    hostname_file,
    hosts_file,
    own_names,
    with_hosts,
    without_hosts,
)

_READ_LIMIT = 1024 * 1024


class NameFileWriter:
    def __init__(self, settings: EngineSettings, table: ContainerTable, host_gateway: str) -> None:
        """``host_gateway``: the default bridge's address, for ``--add-host x:host-gateway``."""
        self._settings = settings
        self._table = table
        self._host_gateway = host_gateway

    def write(self, record: Container, connection: Connection) -> NameFiles:
        """Write the three files of one start; who shares another's network shares its files."""
        owner = self._owner(record)
        files = self._files(owner)
        if owner is record:
            own = connection.sandbox is not None
            _write(files.hostname, hostname_file(record.hostname))
            resolv_conf = self._resolv_conf(record, own, connection.has_resolver)
            _write(files.resolv_conf, resolv_conf)
            _write(files.hosts, self._hosts(record, connection))
        return files

    def hostname(self, record: Container) -> str:
        """What a container is called inside: as the one whose network it shares."""
        return self._owner(record).hostname

    def attached(self, record: Container, endpoint: Endpoint) -> None:
        """A running container has one more network (in ``record`` already)."""
        files = self._files(record)
        names = own_names(record.hostname, record.config.domainname)
        lines = [(address, names) for address in (endpoint.ipv4, endpoint.ipv6) if address]
        _write(files.hosts, with_hosts(_read(files.hosts), lines))
        self._switch_resolver(record, endpoint)

    def detached(self, record: Container, endpoint: Endpoint) -> None:
        """A running container has one network less. Other lines of its hosts stay as they are."""
        files = self._files(record)
        text = without_hosts(_read(files.hosts), (endpoint.ipv4, endpoint.ipv6))
        _write(files.hosts, text)
        self._switch_resolver(record, endpoint)

    def unlinked(self, record: Container, addresses: Iterable[str]) -> None:
        """A running container knows these no more."""
        hosts = self._files(record).hosts
        _write(hosts, without_hosts(_read(hosts), addresses))

    def _switch_resolver(self, record: Container, changed: Endpoint) -> None:
        """Name the embedded resolver from the first user-defined network on, until the last has
        gone. In between the file is the container's own business."""
        others = (name for name in record.endpoints if name != changed.network_name)
        if is_user_defined(changed.network_name) and not any(map(is_user_defined, others)):
            embedded = changed.network_name in record.endpoints
            _write(self._files(record).resolv_conf, self._resolv_conf(record, True, embedded))

    def _owner(self, record: Container) -> Container:
        mode = network_mode(record.host)
        if not mode.startswith("container:"):
            return record
        return self._table.find(mode.removeprefix("container:")).record

    def _files(self, record: Container) -> NameFiles:
        directory = self._settings.container_dir(record.id)
        return NameFiles(
            hosts=os.path.join(directory, "hosts"),
            hostname=os.path.join(directory, "hostname"),
            resolv_conf=os.path.join(directory, "resolv.conf"),
        )

    def _hosts(self, record: Container, connection: Connection) -> str:
        if connection.sandbox is None and not record.host.extra_hosts:
            return _read("/etc/hosts")
        endpoints = connection.endpoints.values()
        addresses = [address for e in endpoints for address in (e.ipv4, e.ipv6) if address]
        return hosts_file(
            record.hostname,
            addresses,
            domainname=record.config.domainname,
            extra=record.host.extra_hosts or (),
            links=[link.host_line for link in legacy_links(record, self._table)],
            host_gateway=self._host_gateway,
        )

    def _resolv_conf(self, record: Container, own_network: bool, embedded: bool) -> str:
        asked = ResolverSettings(
            nameservers=_first(record.host.dns, self._settings.dns),
            search=_first(record.host.dns_search, self._settings.dns_search),
            options=_first(record.host.dns_options, self._settings.dns_options),
        )
        if not own_network and asked == ResolverSettings():
            # In the host's network its own file is right, loopback servers included.
            return _read(HOST_RESOLV_CONF)
        if embedded:
            return embedded_resolv_conf(_read(HOST_RESOLV_CONF), asked)
        return container_resolv_conf(
            _read(HOST_RESOLV_CONF), upstream=_read(UPSTREAM_RESOLV_CONF), asked=asked
        ).text


def _first(own: Iterable[str] | None, default: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(own or ()) or default or None


def _read(path: str) -> str:
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read(_READ_LIMIT)
    return ""


def _write(path: str, text: str) -> None:
    """Overwrite in place: a running container that has the file mounted sees the new text."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
