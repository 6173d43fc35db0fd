"""``--link`` on the default bridge: lines of /etc/hosts and variables that tell of the other
container. On user-defined networks links are names of the embedded resolver instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from wherry.engine.networks.ports import parse_port
from wherry.engine.networks.requests import BRIDGE, network_mode, parse_link
from wherry.engine.records import Container
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, InvalidArgument

_UNFIT = re.compile(r"[^A-Za-z0-9_]")
_NOT_SHARED = ("PATH", "HOME", "HOSTNAME", "TERM")


class Link(msgspec.Struct, frozen=True):
    """A running container that another one knows by an alias."""

    alias: str
    target: Container

    @property
    def address(self) -> str:
        endpoint = self.target.endpoints.get(BRIDGE)
        return endpoint.ipv4 if endpoint else ""

    @property
    def host_line(self) -> tuple[str, str]:
        """Address and names."""
        names = dict.fromkeys((self.alias, self.target.hostname, self.target.name))
        return self.address, " ".join(names)


def legacy_links(record: Container, table: ContainerTable) -> tuple[Link, ...]:
    """The links of a container of the default bridge. Conflict if one leads nowhere."""
    if network_mode(record.host) != BRIDGE:
        return ()
    found = []
    for text in record.host.links or ():
        name, alias = parse_link(text)
        link = Link(alias, table.find(name).record)
        if not link.target.state.pid or not link.address:
            raise Conflict(
                f"Cannot link to a non running container: /{link.target.name} AS "
                f"/{record.name}/{alias}"
            )
        found.append(link)
    return tuple(found)


def link_environment(record: Container, links: tuple[Link, ...]) -> tuple[str, ...]:
    """The variables that links have had since the days before there were names."""
    return tuple(line for link in links for line in _variables(record, link))


def _variables(record: Container, link: Link) -> Iterator[str]:
    prefix = _UNFIT.sub("_", link.alias).upper()
    yield f"{prefix}_NAME=/{record.name}/{link.alias}"
    ports = sorted(_ports(link.target))
    for number, (port, protocol) in enumerate(ports):
        url = f"{protocol}://{link.address}:{port}"
        if number == 0:
            yield f"{prefix}_PORT={url}"
        name = f"{prefix}_PORT_{port}_{protocol.upper()}"
        yield f"{name}={url}"
        yield f"{name}_ADDR={link.address}"
        yield f"{name}_PORT={port}"
        yield f"{name}_PROTO={protocol}"
    for entry in link.target.config.env or ():
        if entry.partition("=")[0] not in _NOT_SHARED:
            yield f"{prefix}_ENV_{entry}"


def _ports(target: Container) -> Iterator[tuple[int, str]]:
    for text in target.config.exposed_ports or ():
        try:
            yield parse_port(text)
        except InvalidArgument:  # a range
            continue
