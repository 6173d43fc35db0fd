"""Publishes ports: a socket that holds the port, a row in the database, an element in a map."""

from __future__ import annotations

import logging
import socket
import sqlite3
from collections.abc import Sequence

from wherry.network.api import Endpoint, Listening, PortRequest, Publication, PublishedPort
from wherry.network.firewall import Firewall
from wherry.network.ports import PortTaken, Reservation, reserve, target_of
from wherry.network.records import PortMapping, Records
from wherry.sys.faults import reach
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.conntrack import ConntrackConnection

log = logging.getLogger(__name__)


class Publisher:
    """Safe to call from several threads: the bound sockets decide who has a port."""

    def __init__(self, records: Records, firewall: Firewall) -> None:
        self._records = records
        self._firewall = firewall

    def publish(
        self, endpoint: Endpoint, requests: Sequence[PortRequest], default_ip: str
    ) -> Publication:
        """All or none; see :func:`wherry.network.ports.reserve`."""
        if not requests:
            return Publication(ports=(), sockets=())
        try:
            reservation = reserve(endpoint, requests, default_ip)
        except PortTaken as error:
            raise self._with_holder(endpoint, error) from error
        try:
            reach("ports.reserved")
            self._translate(endpoint, reservation.mappings)
        except BaseException:
            reservation.close()
            raise
        return _publication(reservation)

    def _translate(self, endpoint: Endpoint, mappings: Sequence[PortMapping]) -> None:
        try:
            self._records.add_ports(endpoint.id, mappings)
        except sqlite3.IntegrityError:
            raise self._with_holder(endpoint, _first_taken(self._records, mappings)) from None
        try:
            reach("ports.recorded")
            self._firewall.publish(mappings)
            reach("ports.translated")
        except BaseException:
            self._records.remove_ports(endpoint.id, mappings)
            raise
        _forget_flows(mappings)

    def republish(self, endpoint: Endpoint, ports: Sequence[PublishedPort]) -> None:
        """Translate ports whose sockets are held already. Idempotent."""
        known = self._records.ports_of(endpoint.id)
        found = [_mapping(endpoint, one) for one in ports]
        mappings = [one for one in found if one and one not in known]
        if mappings:
            self._translate(endpoint, mappings)

    def listening(
        self, endpoint: Endpoint, ports: Sequence[PublishedPort]
    ) -> tuple[Listening, ...]:
        mappings = [found for one in ports if (found := _mapping(endpoint, one))]
        return tuple(_listening(one) for one in mappings if one.is_listened_on)

    def _with_holder(self, endpoint: Endpoint, error: PortTaken) -> PortTaken:
        holder = self._records.port_holder(error.protocol, error.host_ip, error.port)
        return error.of_endpoint(endpoint, holder)

    def unpublish(self, endpoint: Endpoint) -> None:
        """Idempotent."""
        self._take_back(endpoint, self._records.ports_of(endpoint.id))

    def unpublish_some(self, endpoint: Endpoint, ports: Sequence[PublishedPort]) -> None:
        """Idempotent."""
        known = self._records.ports_of(endpoint.id)
        self._take_back(endpoint, [one for one in known if one.published() in ports])

    def _take_back(self, endpoint: Endpoint, mappings: Sequence[PortMapping]) -> None:
        if not mappings:
            return
        self._records.remove_ports(endpoint.id, mappings)
        reach("ports.forgotten")
        self._firewall.unpublish(mappings)
        _forget_flows(mappings)


def _mapping(endpoint: Endpoint, port: PublishedPort) -> PortMapping | None:
    """None if there is no way to the endpoint."""
    target = target_of(endpoint, port.protocol, port.host_ip)
    if not target:
        return None
    return PortMapping(port.protocol, port.host_ip, port.host_port, target, port.container_port)


def _publication(reservation: Reservation) -> Publication:
    both = list(zip(reservation.mappings, reservation.sockets, strict=True))
    return Publication(
        ports=tuple(mapping.published() for mapping in reservation.mappings),
        sockets=tuple(fd for mapping, fd in both if not mapping.is_listened_on),
        listening=tuple(_listening(one, fd) for one, fd in both if one.is_listened_on),
    )


def _listening(mapping: PortMapping, descriptor: int = -1) -> Listening:
    return Listening(port=mapping.published(), address=mapping.container_ip, socket=descriptor)


def _first_taken(records: Records, mappings: Sequence[PortMapping]) -> PortTaken:
    taken = next(
        (one for one in mappings if records.port_holder(one.protocol, one.host_ip, one.host_port)),
        mappings[0],
    )
    return PortTaken(taken.protocol, taken.host_ip, taken.host_port)


def _forget_flows(mappings: Sequence[PortMapping]) -> None:
    """A UDP client goes on with the translation of its first packet as long as it sends."""
    ports = {
        (socket.AF_INET6 if ":" in one.host_ip else socket.AF_INET, one.host_port)
        for one in mappings
        if one.protocol == "udp"
    }
    if not ports:
        return
    try:
        connection = ConntrackConnection()
        try:
            for family, port in ports:
                connection.forget(family, socket.IPPROTO_UDP, port)
        finally:
            connection.close()
    except NetlinkError as error:
        log.warning("cannot forget UDP flows to published ports: %s", error.strerror)
