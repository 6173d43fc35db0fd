"""Which address a container gets. Pure; the leases themselves are in the database."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import msgspec

from wherry.errors import InvalidArgument
from wherry.network.api import Subnet
from wherry.network.subnets import Address, Prefix, hosts_of, parse_address, parse_prefix


class AddressRange(msgspec.Struct, frozen=True):
    """The addresses of a subnet that containers may have."""

    subnet: Prefix
    low: int  # of those given out unasked, both inclusive
    high: int
    reserved: frozenset[int]

    @classmethod
    def of(cls, subnet: Subnet) -> AddressRange:
        prefix = parse_prefix(subnet.subnet)
        low, high = hosts_of(prefix)
        if subnet.ip_range:
            inner = parse_prefix(subnet.ip_range)
            low = max(low, int(inner.network_address))
            high = min(high, int(inner.broadcast_address))
        taken = [subnet.gateway, *subnet.auxiliary.values()]
        return cls(prefix, low, high, frozenset(int(parse_address(one)) for one in taken if one))

    def next_free(self, after: int, is_leased: Callable[[str], bool]) -> str | None:
        """The first free address behind ``after``, around the range; None if all are leased.

        Behind the last one that was given out, an address that was just released is used again
        as late as possible: caches of neighbours and clients may still hold it.
        """
        size = self.high - self.low + 1
        start = after + 1 - self.low if self.low <= after <= self.high else 0
        for step in range(size):
            value = self.low + (start + step) % size
            if value not in self.reserved and not is_leased(text := self._text(value)):
                return text
        return None

    def check_static(self, text: str) -> str:
        """An address that was asked for, in normal form; InvalidArgument if it may not be had."""
        address = parse_address(text)
        if address not in self.subnet:
            raise InvalidArgument(
                f"invalid address {address}: it does not belong to the network's subnet "
                f"{self.subnet}"
            )
        low, high = hosts_of(self.subnet)
        if not low <= int(address) <= high or int(address) in self.reserved:
            raise InvalidArgument(
                f"invalid address {address}: it is reserved in the subnet {self.subnet}"
            )
        return str(address)

    def _text(self, value: int) -> str:
        kind: type[Address] = (
            ipaddress.IPv4Address if self.subnet.version == 4 else ipaddress.IPv6Address
        )
        return str(kind(value))
