"""Who is called what: the names of all networks, and what one container sees of them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from wherry.network.resolver.message import Address
from wherry.network.resolver.protocol import Member, View


class NetworkNames:
    """The members of one network by name and by address."""

    def __init__(self, name: str) -> None:
        self.name = name.lower()
        self._members: dict[str, Member] = {}  # by container
        self._names: dict[str, dict[str, Member]] = {}  # by name, then by container
        self._addresses: dict[str, Member] = {}

    def put(self, member: Member) -> None:
        self.drop(member.container_id)
        self._members[member.container_id] = member
        for name in member.names:
            self._names.setdefault(name.lower(), {})[member.container_id] = member
        for address in _addresses(member):
            self._addresses[address] = member

    def drop(self, container_id: str) -> None:
        """Fine if it is no member."""
        member = self._members.pop(container_id, None)
        if member is None:
            return
        for name in {one.lower() for one in member.names}:
            called = self._names[name]
            del called[container_id]
            if not called:
                del self._names[name]
        for address in _addresses(member):
            if self._addresses.get(address) is member:
                del self._addresses[address]

    def called(self, name: str) -> list[Member]:
        return list(self._names.get(name, {}).values())

    def at(self, address: Address) -> Member | None:
        return self._addresses.get(str(address))

    def __bool__(self) -> bool:
        return bool(self._members)


def _addresses(member: Member) -> Iterable[str]:
    found = (one for one in (member.ipv4, member.ipv6) if one)
    return (str(ipaddress.ip_address(one)) for one in found)


class NameTable:
    """All networks."""

    def __init__(self) -> None:
        self._networks: dict[str, NetworkNames] = {}

    def put(self, member: Member) -> None:
        network = self._networks.get(member.network_id)
        if network is None:
            network = self._networks[member.network_id] = NetworkNames(member.network_name)
        network.put(member)

    def drop(self, network_id: str, container_id: str) -> None:
        """Fine if there is none."""
        network = self._networks.get(network_id)
        if network is not None:
            network.drop(container_id)
            if not network:
                del self._networks[network_id]

    def find(self, view: View, name: str) -> list[Member]:
        """Who is called so, in the first network of the view that knows the name; then ``NAME.NET``
        in the network of that name."""
        for network_id, network in self._seen(view):
            if found := network.called(_link(view, network_id, name)):
                return found
        base, _, wanted = name.rpartition(".")
        for network_id, network in self._seen(view):
            if wanted == network.name and base:
                return network.called(_link(view, network_id, base))
        return []

    def name_of(self, view: View, address: Address) -> str:
        """``NAME.NETWORK`` of who has an address in a network of the view; empty for nobody."""
        for _, network in self._seen(view):
            member = network.at(address)
            if member and member.names:
                return f"{member.names[0]}.{member.network_name}"
        return ""

    def _seen(self, view: View) -> Iterable[tuple[str, NetworkNames]]:
        for network_id in view.networks:
            network = self._networks.get(network_id)
            if network is not None:
                yield network_id, network


def _link(view: View, network_id: str, name: str) -> str:
    return view.links.get(network_id, {}).get(name, name).lower()
