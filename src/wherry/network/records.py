"""What the networks keep in the database (docs/formats/network.md)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

import msgspec

from wherry.errors import Conflict, PermissionDenied
from wherry.model.decoding import decoded
from wherry.network.api import Endpoint, Network, Protocol_, PublishedPort
from wherry.store.database import Database

SCRIPTS = (
    """
    CREATE TABLE network (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        record BLOB NOT NULL
    ) STRICT;
    CREATE TABLE network_endpoint (
        id TEXT PRIMARY KEY,
        network_id TEXT NOT NULL REFERENCES network (id),
        ipv4 TEXT,
        ipv6 TEXT,
        leaving INTEGER NOT NULL DEFAULT 0,
        record BLOB NOT NULL,
        UNIQUE (network_id, ipv4),
        UNIQUE (network_id, ipv6)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE network_port (
        protocol TEXT NOT NULL,
        host_ip TEXT NOT NULL,
        host_port INTEGER NOT NULL,
        container_ip TEXT NOT NULL,
        container_port INTEGER NOT NULL,
        endpoint_id TEXT NOT NULL REFERENCES network_endpoint (id) ON DELETE CASCADE,
        PRIMARY KEY (protocol, host_ip, host_port)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX network_port_endpoint ON network_port (endpoint_id);
    """,
)

_SELECT_PORTS = (
    "SELECT protocol, host_ip, host_port, container_ip, container_port FROM network_port"
)
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


class PortMapping(msgspec.Struct, frozen=True):
    """A published port: what comes to the first address and port goes to the second."""

    protocol: Protocol_
    host_ip: str
    host_port: int
    container_ip: str
    container_port: int

    @property
    def is_translated(self) -> bool:
        """Whether the packet filter can lead it: it does not change the address family."""
        return (":" in self.host_ip) == (":" in self.container_ip)

    @property
    def is_listened_on(self) -> bool:
        """Whether a process must listen: for another address family, or for ``::1``, from which
        the kernel lets no packet out."""
        return self.protocol != "sctp" and (not self.is_translated or ":" in self.host_ip)

    def published(self) -> PublishedPort:
        return PublishedPort(
            container_port=self.container_port,
            protocol=self.protocol,
            host_ip=self.host_ip,
            host_port=self.host_port,
        )


class Records:
    """Networks, endpoints, leases and ports, each change atomic."""

    def __init__(self, db: Database) -> None:
        db.migrate("network", SCRIPTS)
        self._db = db

    # Networks

    def networks(self) -> list[Network]:
        rows = self._db.query("SELECT record FROM network")
        return [decoded(row[0], Network) for row in rows]

    def add_network(self, network: Network) -> None:
        """Conflict if there is one of that name."""
        try:
            self._db.execute(
                "INSERT INTO network VALUES (?, ?, ?)",
                network.id,
                network.name,
                msgspec.json.encode(network),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"network with name {network.name} already exists") from None

    def change_network(self, network: Network) -> None:
        """Replace the record of one that is there."""
        record = msgspec.json.encode(network)
        self._db.execute("UPDATE network SET record = ? WHERE id = ?", record, network.id)

    def remove_network(self, network_id: str) -> None:
        """PermissionDenied while it has endpoints."""
        try:
            self._db.execute("DELETE FROM network WHERE id = ?", network_id)
        except sqlite3.IntegrityError:
            raise PermissionDenied(f"network {network_id} has active endpoints") from None

    # Endpoints and their addresses

    def add_endpoint(self, make: Callable[[], Endpoint]) -> Endpoint:
        """Record the endpoint that ``make`` gives, with its addresses, in one transaction."""
        with self._db.transaction():
            endpoint = make()
            self._insert(endpoint)
        return endpoint

    def restore_endpoint(self, endpoint: Endpoint) -> None:
        """Record an endpoint that exists but was lost, whoever else claims its addresses."""
        with self._db.transaction():
            for address in (endpoint.ipv4, endpoint.ipv6):
                if holder := self.lease_holder(endpoint.network_id, address):
                    self.remove_endpoints([holder[0]])
            self._insert(endpoint)

    def _insert(self, endpoint: Endpoint) -> None:
        self._db.execute(
            "INSERT INTO network_endpoint (id, network_id, ipv4, ipv6, record) "
            "VALUES (?, ?, ?, ?, ?)",
            endpoint.id,
            endpoint.network_id,
            endpoint.ipv4 or None,
            endpoint.ipv6 or None,
            msgspec.json.encode(endpoint),
        )

    def is_leased(self, network_id: str, address: str) -> bool:
        return self.lease_holder(network_id, address) is not None

    def lease_holder(self, network_id: str, address: str) -> tuple[str, bool] | None:
        """The endpoint that has an address, and whether it is leaving."""
        column = "ipv6" if ":" in address else "ipv4"
        row = self._db.query_one(
            f"SELECT id, leaving FROM network_endpoint WHERE network_id = ? AND {column} = ?",
            network_id,
            address,
        )
        return (row[0], bool(row[1])) if row else None

    def endpoints(self, network_id: str = "") -> list[Endpoint]:
        """Those of one network, or all, but those that are leaving."""
        rows = self._db.query(
            "SELECT record FROM network_endpoint WHERE leaving = 0 AND (? IN ('', network_id))",
            network_id,
        )
        return [decoded(row[0], Endpoint) for row in rows]

    def count_endpoints(self, network_id: str) -> tuple[int, int]:
        """How many there are in a network, and how many of them are leaving."""
        row = self._db.query_one(
            "SELECT count(*), coalesce(sum(leaving), 0) FROM network_endpoint WHERE network_id = ?",
            network_id,
        )
        return (row[0], row[1]) if row else (0, 0)

    def leaving(self) -> list[Endpoint]:
        rows = self._db.query("SELECT record FROM network_endpoint WHERE leaving = 1")
        return [decoded(row[0], Endpoint) for row in rows]

    def begin_leaving(self, endpoint_id: str) -> bool:
        """False if the endpoint is gone, or leaving already."""
        return bool(
            self._db.execute(
                "UPDATE network_endpoint SET leaving = 1 WHERE id = ? AND leaving = 0", endpoint_id
            )
        )

    def remove_endpoints(self, ids: Iterable[str]) -> None:
        """Their leases and ports go with them."""
        self._db.execute_many("DELETE FROM network_endpoint WHERE id = ?", [(one,) for one in ids])

    # Ports

    def ports(self) -> list[PortMapping]:
        return [PortMapping(*row) for row in self._db.query(_SELECT_PORTS)]

    def ports_of(self, endpoint_id: str) -> list[PortMapping]:
        rows = self._db.query(_SELECT_PORTS + " WHERE endpoint_id = ?", endpoint_id)
        return [PortMapping(*row) for row in rows]

    def add_ports(self, endpoint_id: str, mappings: Sequence[PortMapping]) -> None:
        """sqlite3.IntegrityError if one is taken."""
        self._db.execute_many(
            "INSERT INTO network_port VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    one.protocol,
                    one.host_ip,
                    one.host_port,
                    one.container_ip,
                    one.container_port,
                    endpoint_id,
                )
                for one in mappings
            ],
        )

    def remove_ports(self, endpoint_id: str, mappings: Iterable[PortMapping]) -> None:
        self._db.execute_many(
            "DELETE FROM network_port "
            "WHERE protocol = ? AND host_ip = ? AND host_port = ? AND endpoint_id = ?",
            [(one.protocol, one.host_ip, one.host_port, endpoint_id) for one in mappings],
        )

    def port_holder(self, protocol: str, host_ip: str, host_port: int) -> Endpoint | None:
        """The endpoint that has published a port on an address, or on all of its family."""
        rows = self._db.query(
            "SELECT p.host_ip, e.record FROM network_port p JOIN network_endpoint e "
            "ON e.id = p.endpoint_id WHERE p.protocol = ? AND p.host_port = ?",
            protocol,
            host_port,
        )
        for other_ip, record in rows:
            if _clash(host_ip, other_ip):
                return decoded(record, Endpoint)
        return None


def _clash(one: str, other: str) -> bool:
    same_family = (":" in one) == (":" in other)
    return same_family and (one == other or one in _WILDCARDS or other in _WILDCARDS)
