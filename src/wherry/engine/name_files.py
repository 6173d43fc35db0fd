"""A container's ``/etc/hosts``, ``/etc/hostname`` and ``/etc/resolv.conf``, written at each start.

They are files of the container's own directory on the host, mounted over those of the image, so
that no layer ever holds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from wherry.engine.networking import Connection
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.spec import NameFiles
from wherry.network.names import (
    HOST_RESOLV_CONF,
    UPSTREAM_RESOLV_CONF,
    ResolverSettings,
    container_resolv_conf,
    hostname_file,
    hosts_file,
)

_READ_LIMIT = 1024 * 1024


class NameFileWriter:
    def __init__(self, settings: EngineSettings, host_gateway: str) -> None:
        """``host_gateway``: the default bridge's address, for ``--add-host x:host-gateway``."""
        self._settings = settings
        self._host_gateway = host_gateway

    def write(self, record: Container, connection: Connection) -> NameFiles:
        """Write the three files of one start."""
        directory = self._settings.container_dir(record.id)
        files = NameFiles(
            hosts=os.path.join(directory, "hosts"),
            hostname=os.path.join(directory, "hostname"),
            resolv_conf=os.path.join(directory, "resolv.conf"),
        )
        own = connection.sandbox is not None
        _write(files.hostname, hostname_file(record.hostname))
        _write(files.resolv_conf, self._resolv_conf(record, own))
        _write(files.hosts, self._hosts(record, connection))
        return files

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
            host_gateway=self._host_gateway,
        )

    def _resolv_conf(self, record: Container, own_network: bool) -> str:
        asked = ResolverSettings(
            nameservers=_first(record.host.dns, self._settings.dns),
            search=_first(record.host.dns_search, self._settings.dns_search),
            options=_first(record.host.dns_options, self._settings.dns_options),
        )
        if not own_network and asked == ResolverSettings():
            # In the host's network its own file is right, loopback servers included.
            return _read(HOST_RESOLV_CONF)
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
