"""Subnets: what a request may ask for, and what is chosen without one. Pure."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Sequence

import msgspec

from wherry.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from wherry.network.api import Subnet

IPv4Prefix = ipaddress.IPv4Network
IPv6Prefix = ipaddress.IPv6Network
Prefix = IPv4Prefix | IPv6Prefix
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_prefix(text: str) -> Prefix:
    """A range in CIDR form; host bits are cut off. InvalidArgument."""
    try:
        if "/" in text:  # else it would be one address
            return ipaddress.ip_network(text, strict=False)
    except ValueError:
        pass
    raise InvalidArgument(f"invalid subnet {text!r}: want ADDRESS/LENGTH")


def parse_address(text: str) -> Address:
    """InvalidArgument if it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {text!r}") from None


def hosts_of(prefix: Prefix) -> tuple[int, int]:
    """The lowest and the highest address of a subnet that an interface may have.

    Without the network's own and the broadcast address, or IPv6's anycast address of routers
    (RFC 4291, section 2.6.1); two-address links have neither (RFC 3021, RFC 6164).
    """
    low, high = int(prefix.network_address), int(prefix.broadcast_address)
    if prefix.num_addresses <= 2:
        return low, high
    return low + 1, high - (prefix.version == 4)


def complete(asked: Subnet) -> Subnet:
    """A subnet as asked for, checked, in normal form and with a gateway. InvalidArgument."""
    prefix = parse_prefix(asked.subnet)
    low, high = hosts_of(prefix)
    gateway = _inside(prefix, asked.gateway, "gateway") if asked.gateway else _address(prefix, low)
    if not low <= int(gateway) <= high:
        raise InvalidArgument(f"invalid gateway {gateway}: it is not a host's address of {prefix}")
    auxiliary = {
        name: str(_inside(prefix, text, f"auxiliary address {name}"))
        for name, text in asked.auxiliary.items()
    }
    ip_range = ""
    if asked.ip_range:
        inner = parse_prefix(asked.ip_range)
        if not is_within(inner, prefix):
            raise InvalidArgument(f"invalid IP range {inner}: it is not within the subnet {prefix}")
        ip_range = str(inner)
    return Subnet(subnet=str(prefix), gateway=str(gateway), ip_range=ip_range, auxiliary=auxiliary)


def _address(prefix: Prefix, value: int) -> Address:
    return prefix.network_address + (value - int(prefix.network_address))


def _inside(prefix: Prefix, text: str, what: str) -> Address:
    # Docker takes a gateway with a prefix length too.
    address = parse_address(text.partition("/")[0])
    if address not in prefix:
        raise InvalidArgument(f"invalid {what} {address}: it is not within the subnet {prefix}")
    return address


def is_within(inner: Prefix, outer: Prefix) -> bool:
    return (
        inner.version == outer.version
        and (outer.network_address in inner or inner.network_address in outer)
        and inner.prefixlen >= outer.prefixlen
    )


def overlapping(prefix: Prefix, others: Iterable[Prefix]) -> Prefix | None:
    """The first of the others that shares an address with a subnet."""
    return next((o for o in others if o.version == prefix.version and _overlap(prefix, o)), None)


def _overlap(one: Prefix, other: Prefix) -> bool:
    return other.network_address in one or one.network_address in other


def check_requested(subnets: Sequence[Subnet], taken: Iterable[Prefix]) -> tuple[Subnet, ...]:
    """Subnets as asked for, completed; PermissionDenied, as Docker says it, if one overlaps
    another network's."""
    known = list(taken)
    completed = []
    for asked in subnets:
        subnet = complete(asked)
        prefix = parse_prefix(subnet.subnet)
        if found := overlapping(prefix, known):
            raise PermissionDenied(
                "invalid pool request: Pool overlaps with other one on this address space: "
                f"{prefix} and {found}"
            )
        known.append(prefix)
        completed.append(subnet)
    _check_one_of_each([parse_prefix(subnet.subnet) for subnet in completed])
    return tuple(completed)


def _check_one_of_each(prefixes: Sequence[Prefix]) -> None:
    for version in (4, 6):
        if sum(prefix.version == version for prefix in prefixes) > 1:
            raise InvalidArgument(
                f"a network has at most one IPv{version} subnet, several were given"
            )


def choose(pools: Iterable[tuple[IPv4Prefix, int]], taken: Sequence[Prefix]) -> Subnet:
    """The first subnet of the pools (range and prefix length) that shares no address with what is
    taken; ResourceExhausted if there is none."""
    for base, size in pools:
        for candidate in base.subnets(new_prefix=size):
            if overlapping(candidate, taken) is None:
                return complete(Subnet(subnet=str(candidate)))
    raise ResourceExhausted(
        "all predefined address pools have been fully subnetted: name a free --subnet, remove "
        "networks, or extend default-address-pools"
    )


def choose_ipv6() -> Subnet:
    """A random unique local /64 (RFC 4193): 40 random bits leave nothing to collide with."""
    start = (0xFD << 120) | secrets.randbits(40) << 80
    return complete(Subnet(subnet=f"{ipaddress.IPv6Address(start)}/64"))


def of_version(subnets: Iterable[Subnet], version: int) -> Subnet | None:
    """The subnet of an address family, if there is one."""
    return next((one for one in subnets if parse_prefix(one.subnet).version == version), None)


def with_gateway(subnet: Subnet, gateway: str) -> Subnet:
    return msgspec.structs.replace(subnet, gateway=gateway)
