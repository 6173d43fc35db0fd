"""Address translation and filtering: one nf_tables table, in which all that changes is elements.

docs/formats/network.md explains the rules. They never change; a network or a published port is
an element of a set or map, added and removed in constant time. The database knows all of them,
so a table that someone flushed is made again from it.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Callable, Iterable, Sequence

import msgspec

from wherry.errors import InternalError, NotSupported
from wherry.network.records import PortMapping
from wherry.sys.netlink import nftables as nft
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.nftables import REGISTER, WORD
from wherry.sys.netlink.wire import Message

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_LOOPBACK4 = bytes([127])
_LOOPBACK6 = ipaddress.IPv6Address("::1").packed

_PORT = (nft.PROTOCOL, nft.SERVICE)
_TARGET4 = (nft.ADDRESS4, nft.SERVICE)
_TARGET6 = (nft.ADDRESS6, nft.SERVICE)
_SETS = (
    nft.Set("bridges", (nft.INTERFACE,)),
    nft.Set("internal", (nft.INTERFACE,)),
    nft.Set("masqueraded", (nft.INTERFACE,)),
    nft.Set("same", (nft.INTERFACE, nft.INTERFACE)),
    nft.Set("talking", (nft.INTERFACE, nft.INTERFACE)),
    nft.Set("local4", (nft.ADDRESS4, nft.INTERFACE), ranges=True),
    nft.Set("local6", (nft.ADDRESS6, nft.INTERFACE), ranges=True),
    nft.Set("ports4", (nft.ADDRESS4, *_PORT), _TARGET4),
    nft.Set("ports6", (nft.ADDRESS6, *_PORT), _TARGET6),
    nft.Set("any4", _PORT, _TARGET4),
    nft.Set("any6", _PORT, _TARGET6),
)
_CHAINS = (
    nft.Chain("ports"),
    nft.Chain("raw", "filter", nft.PREROUTING, -300),
    nft.Chain("prerouting", "nat", nft.PREROUTING, -100),
    nft.Chain("output", "nat", nft.OUTPUT, -100),
    nft.Chain("postrouting", "nat", nft.POSTROUTING, 100),
    nft.Chain("forward", "filter", nft.FORWARD, 0),
)


class BridgePolicy(msgspec.Struct, frozen=True):
    """What the filter has to know of a network."""

    interface: str
    subnets: tuple[str, ...]
    internal: bool
    icc: bool
    masquerade: bool


class FirewallState(msgspec.Struct, frozen=True):
    """All networks and published ports."""

    bridges: Sequence[BridgePolicy]
    ports: Sequence[PortMapping]


class Firewall:
    """The table of one engine. Raises InternalError with the kernel's reason.

    ``state`` tells the truth, from the database: a change is made there first, and here then.
    """

    def __init__(self, table: str, state: Callable[[], FirewallState]) -> None:
        self._table = table
        self._state = state
        self._nft = nft.NftConnection()
        self._installed: FirewallState | None = None

    def install(self) -> None:
        """Replace the whole table, in one step: no packet meets half of it. NotSupported."""
        state = self._state()
        try:
            self._nft.transact(self._whole(state))
        except NetlinkError as error:
            raise NotSupported(
                f"cannot set up nf_tables, which networks need: {error.strerror} "
                "(load the kernel modules nf_tables, nft_nat, nft_masq and nft_fib_inet)"
            ) from error
        self._installed = state

    def renew(self) -> None:
        """As :meth:`install`, unless the truth is still what was installed last; the kernel takes
        tens of milliseconds for a table. For those who look out for changes by others."""
        if self._state() != self._installed:
            self.install()

    @property
    def port(self) -> int:
        """By which the kernel tells our changes from those of others."""
        return self._nft.port

    def add_bridge(self, policy: BridgePolicy) -> None:
        self._change(self._add(_bridge_elements(policy)))

    def remove_bridge(self, policy: BridgePolicy) -> None:
        self._change(self._delete(_bridge_elements(policy)))

    def publish(self, mappings: Sequence[PortMapping]) -> None:
        self._change(self._add(_port_elements(mappings)))

    def unpublish(self, mappings: Sequence[PortMapping]) -> None:
        self._change(self._delete(_port_elements(mappings)))

    def purge(self) -> None:
        """Remove the table. Idempotent."""
        self._installed = None
        try:
            self._nft.transact([nft.add_table(self._table), nft.delete_table(self._table)])
        except NetlinkError as error:
            raise InternalError(f"cannot remove the packet filter: {error.strerror}") from error

    def close(self) -> None:
        self._nft.close()

    def _change(self, messages: list[Message]) -> None:
        """Apply; a table that is not as it should be is made again, the change included."""
        if not messages:
            return
        try:
            self._nft.transact(messages)
        except NetlinkError as error:
            if error.errno in (errno.ENOENT, errno.EEXIST):
                self.install()
                return
            raise InternalError(f"cannot change the packet filter: {error.strerror}") from error

    def _add(self, elements: Iterable[tuple[str, nft.Element]]) -> list[Message]:
        return [
            message
            for name, found in _by_set(elements).items()
            for message in nft.add_elements(self._table, name, found)
        ]

    def _delete(self, elements: Iterable[tuple[str, nft.Element]]) -> list[Message]:
        return [
            message
            for name, found in _by_set(elements).items()
            for message in nft.delete_elements(self._table, name, found)
        ]

    def _whole(self, state: FirewallState) -> list[Message]:
        table = self._table
        elements = [one for bridge in state.bridges for one in _bridge_elements(bridge)]
        elements += _port_elements(state.ports)
        return [
            nft.add_table(table),
            nft.delete_table(table),
            nft.add_table(table),
            *(nft.add_set(table, one, n) for n, one in enumerate(_SETS, 1)),
            *(nft.add_chain(table, chain) for chain in _CHAINS),
            *(nft.add_rule(table, chain, *rule) for chain, rule in _rules()),
            *self._add(elements),
        ]


def _by_set(elements: Iterable[tuple[str, nft.Element]]) -> dict[str, list[nft.Element]]:
    found: dict[str, list[nft.Element]] = {}
    for name, element in elements:
        found.setdefault(name, []).append(element)
    return found


def _rules() -> list[tuple[str, tuple[bytes, ...]]]:
    """Chain and expressions of every rule, in order."""
    return [*_port_rules(), *_nat_rules(), *_filter_rules()]


def _port_rules() -> Iterable[tuple[str, tuple[bytes, ...]]]:
    """First the ports of one address, then those of all."""
    yield _port_rule(nft.IPV4, "ports4", nft.load_destination4(4), WORD[1])
    yield _port_rule(nft.IPV6, "ports6", nft.load_destination6(), WORD[4])
    yield _port_rule(nft.IPV4, "any4", b"", WORD[0])
    yield _port_rule(nft.IPV6, "any6", b"", WORD[0])


def _port_rule(
    family: int, name: str, load_address: bytes, word: int
) -> tuple[str, tuple[bytes, ...]]:
    """``word`` is the first behind the address; the target's port comes behind its own."""
    port_word = WORD[1] if family == nft.IPV4 else WORD[4]
    return "ports", (
        nft.is_family(family),
        load_address,
        nft.load_protocol(word),
        nft.load_destination_port(word + 1),
        nft.translate(name, REGISTER[0], REGISTER[0]),
        nft.change_destination(family, REGISTER[0], port_word),
    )


def _nat_rules() -> Iterable[tuple[str, tuple[bytes, ...]]]:
    yield "raw", (*_from_bridges(), *_loopback_destination(), nft.verdict(nft.DROP))
    not_local = (nft.load_input_interface(), nft.compare(nft.interface_key("lo"), equal=False))
    yield "prerouting", (*not_local, *_loopback_destination(), nft.verdict(nft.RETURN))
    yield "output", (*_loopback_destination6(), nft.verdict(nft.RETURN))
    for chain in ("prerouting", "output"):
        yield chain, (nft.is_for_this_host(), nft.verdict(nft.JUMP, "ports"))
    translated = (nft.is_destination_translated(), nft.masquerade())
    yield "postrouting", (*_from_own_subnet(nft.IPV4), *translated)
    yield "postrouting", (*_from_own_subnet(nft.IPV6), *translated)
    yield "postrouting", (*_between("same"), nft.verdict(nft.RETURN))
    yield (
        "postrouting",
        (nft.load_input_interface(), nft.lookup("masqueraded"), nft.masquerade()),
    )
    yield "postrouting", (*_to_bridges(), *_loopback_source(), nft.masquerade())


def _filter_rules() -> Iterable[tuple[str, tuple[bytes, ...]]]:
    accept, drop = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)
    yield "forward", (nft.is_established(), accept)
    yield "forward", (*_between("talking"), accept)
    yield "forward", (nft.load_input_interface(), nft.lookup("internal"), nft.counter(), drop)
    yield "forward", (nft.load_output_interface(), nft.lookup("internal"), nft.counter(), drop)
    yield "forward", (*_to_bridges(), nft.is_destination_translated(), accept)
    yield "forward", (*_to_bridges(), nft.counter(), drop)


def _from_bridges() -> tuple[bytes, ...]:
    return nft.load_input_interface(), nft.lookup("bridges")


def _to_bridges() -> tuple[bytes, ...]:
    return nft.load_output_interface(), nft.lookup("bridges")


def _between(name: str) -> tuple[bytes, ...]:
    return (
        nft.load_input_interface(REGISTER[0]),
        nft.load_output_interface(REGISTER[1]),
        nft.lookup(name),
    )


def _from_own_subnet(family: int) -> tuple[bytes, ...]:
    """From a container, back to its own bridge. The source tells, since frames that are bridged
    have no input interface here."""
    if family == nft.IPV4:
        load, behind, name = nft.load_source4(4), WORD[1], "local4"
    else:
        load, behind, name = nft.load_source6(), WORD[4], "local6"
    return nft.is_family(family), load, nft.load_output_interface(behind), nft.lookup(name)


def _loopback_destination() -> tuple[bytes, ...]:
    return nft.is_family(nft.IPV4), nft.load_destination4(1), nft.compare(_LOOPBACK4)


def _loopback_destination6() -> tuple[bytes, ...]:
    return nft.is_family(nft.IPV6), nft.load_destination6(), nft.compare(_LOOPBACK6)


def _loopback_source() -> tuple[bytes, ...]:
    return nft.is_family(nft.IPV4), nft.load_source4(1), nft.compare(_LOOPBACK4)


def _bridge_elements(policy: BridgePolicy) -> list[tuple[str, nft.Element]]:
    name = nft.interface_key(policy.interface)
    one, pair = nft.Element(name), nft.Element(name + name)
    found = [("bridges", one), ("same", pair)]
    found += [_subnet_element(subnet, name) for subnet in policy.subnets]
    if policy.internal:
        found.append(("internal", one))
    elif policy.masquerade:
        found.append(("masqueraded", one))
    if policy.icc:
        found.append(("talking", pair))
    return found


def _subnet_element(subnet: str, name: bytes) -> tuple[str, nft.Element]:
    prefix = ipaddress.ip_network(subnet)
    first, last = prefix.network_address.packed, prefix.broadcast_address.packed
    return f"local{prefix.version}", nft.Element(first + name, last=last + name)


def _port_elements(mappings: Iterable[PortMapping]) -> list[tuple[str, nft.Element]]:
    return [_port_element(mapping) for mapping in mappings if mapping.is_translated]


def _port_element(mapping: PortMapping) -> tuple[str, nft.Element]:
    address = ipaddress.ip_address(mapping.host_ip)
    protocol = bytes([_PROTOCOLS[mapping.protocol]])
    key = nft.concatenated(protocol, struct.pack(">H", mapping.host_port))
    target = ipaddress.ip_address(mapping.container_ip).packed
    data = nft.concatenated(target, struct.pack(">H", mapping.container_port))
    if address.is_unspecified:
        return f"any{address.version}", nft.Element(key, data)
    return f"ports{address.version}", nft.Element(address.packed + key, data)
