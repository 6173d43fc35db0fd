"""nf_tables: tables, chains, rules, sets and maps (linux/netfilter/nf_tables.h, nft(8)).

A change is a list of messages that :meth:`NftConnection.transact` applies whole or not at all.
An expression is encoded where it is made; a rule is a sequence of expressions that work on
registers of 16 bytes (``REGISTER``) or 4 bytes (``WORD``): the first four words are the first
register.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

import msgspec

from wherry.sys.netlink.connection import NETLINK_NETFILTER, Connection, NetlinkError
from wherry.sys.netlink.wire import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attribute_list,
    attributes,
    be32,
    be64,
    nested,
    string_of,
    text,
)

INET = 1  # NFPROTO_INET: both address families in one table
IPV4 = socket.AF_INET
IPV6 = socket.AF_INET6

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
DROP, ACCEPT, RETURN, JUMP = 0, 1, -5, -3

REGISTER = (1, 2, 3, 4)  # NFT_REG_1...: 16 bytes each
WORD = (8, 9, 10, 11, 12, 13, 14, 15)  # NFT_REG32_00...: 4 bytes each
_VERDICT_REGISTER = 0

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 1, 2, 3, 4
_NEWRULE, _GETRULE, _DELRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = 6, 7, 8, 9, 12, 14
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO = 6, 7, 15, 16
_CT_STATE, _CT_STATUS = 0, 2
_FIB_ADDRTYPE, _FIB_DADDR = 3, 2
_SET_INTERVAL, _SET_MAP, _SET_CONCAT = 0x4, 0x8, 0x80
_ELEMENTS_A_MESSAGE = 400  # an attribute, thus a list of elements, ends at 64 KiB
_NAME_SIZE = 16  # IFNAMSIZ
# libnftnl's user data for the nft program: keys are in host byte order, else it lists no names.
_SET_HINTS = struct.pack("=BBI", 0, 4, 1)


class DataType(msgspec.Struct, frozen=True):
    """A type of the ``nft`` program: its number, for listing only, and the size in bytes."""

    number: int
    size: int


ADDRESS4 = DataType(7, 4)
ADDRESS6 = DataType(8, 16)
PROTOCOL = DataType(12, 1)
SERVICE = DataType(13, 2)
INTERFACE = DataType(41, _NAME_SIZE)


class Chain(msgspec.Struct, frozen=True):
    """A chain; with a hook if the kernel enters it by itself."""

    name: str
    kind: str = ""  # filter or nat
    hook: int = 0
    priority: int = 0


class Set(msgspec.Struct, frozen=True):
    """A set of keys, or with ``data`` a map. Keys and data of several types are concatenated.

    With ``ranges`` each element covers all keys that lie between two in every part (Linux 5.6).
    """

    name: str
    key: tuple[DataType, ...]
    data: tuple[DataType, ...] = ()
    ranges: bool = False


class Element(msgspec.Struct, frozen=True):
    """An element of a set; of a map with its datum, of a set of ranges with its last key."""

    key: bytes
    data: bytes = b""
    last: bytes = b""


class Rule(msgspec.Struct, frozen=True):
    """A rule as it is in the kernel; ``comment`` as it was given when it was made."""

    handle: int
    comment: str


def concatenated(*parts: bytes) -> bytes:
    """A key or datum of several parts, each padded to four bytes."""
    return b"".join(part + bytes(-len(part) % 4) for part in parts)


def interface_key(name: str) -> bytes:
    """An interface's name as a key."""
    return name.encode().ljust(_NAME_SIZE, b"\0")


# Expressions


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *parts))


def _load_meta(key: int, register: int) -> bytes:
    return _expression("meta", be32(1, register), be32(2, key))


def load_input_interface(register: int = REGISTER[0]) -> bytes:
    return _load_meta(_META_IIFNAME, register)


def load_output_interface(register: int = REGISTER[0]) -> bytes:
    return _load_meta(_META_OIFNAME, register)


def load_protocol(register: int) -> bytes:
    return _load_meta(_META_L4PROTO, register)


def is_family(family: int) -> bytes:
    """Go on for packets of one address family only."""
    return _load_meta(_META_NFPROTO, REGISTER[0]) + compare(bytes([family]))


def load_source4(size: int, register: int = REGISTER[0]) -> bytes:
    """The first ``size`` bytes of the source address of an IPv4 packet."""
    return _load_payload(_NETWORK_HEADER, 12, size, register)


def load_source6(register: int = REGISTER[0]) -> bytes:
    return _load_payload(_NETWORK_HEADER, 8, 16, register)


def load_destination4(size: int, register: int = REGISTER[0]) -> bytes:
    return _load_payload(_NETWORK_HEADER, 16, size, register)


def load_destination6(register: int = REGISTER[0]) -> bytes:
    return _load_payload(_NETWORK_HEADER, 24, 16, register)


def load_destination_port(register: int) -> bytes:
    return _load_payload(_TRANSPORT_HEADER, 2, 2, register)


def _load_payload(base: int, offset: int, size: int, register: int) -> bytes:
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, size))


def compare(value: bytes, *, equal: bool = True, register: int = REGISTER[0]) -> bytes:
    """Go on if the register is (or is not) the value."""
    operator = 0 if equal else 1
    return _expression("cmp", be32(1, register), be32(2, operator), nested(3, attribute(1, value)))


def lookup(name: str, register: int = REGISTER[0]) -> bytes:
    """Go on if the key in the register is in the set."""
    return _expression("lookup", text(1, name), be32(2, register))


def translate(name: str, register: int, target: int) -> bytes:
    """Go on if the key in the register is in the map, with its datum in ``target``."""
    return _expression("lookup", text(1, name), be32(2, register), be32(3, target))


def _conntrack_has(key: int, bits: int) -> bytes:
    mask, zero = struct.pack("=I", bits), bytes(4)
    return (
        _expression("ct", be32(1, REGISTER[0]), be32(2, key))
        + _expression(
            "bitwise",
            be32(1, REGISTER[0]),
            be32(2, REGISTER[0]),
            be32(3, 4),
            nested(4, attribute(1, mask)),
            nested(5, attribute(1, zero)),
        )
        + compare(zero, equal=False)
    )


def is_established() -> bytes:
    """Go on for packets of flows that are known, and of those related to them."""
    return _conntrack_has(_CT_STATE, 0x2 | 0x4)


def is_destination_translated() -> bytes:
    """Go on for flows whose destination was changed (IPS_DST_NAT)."""
    return _conntrack_has(_CT_STATUS, 0x20)


def is_for_this_host() -> bytes:
    """Go on if the destination is an address of this host (RTN_LOCAL)."""
    load = _expression("fib", be32(1, REGISTER[0]), be32(2, _FIB_ADDRTYPE), be32(3, _FIB_DADDR))
    return load + compare(struct.pack("=I", 2))


def verdict(code: int, chain: str = "") -> bytes:
    parts = be32(1, code) + (text(2, chain) if chain else b"")
    return _expression("immediate", be32(1, _VERDICT_REGISTER), nested(2, nested(2, parts)))


def load_value(value: bytes, register: int) -> bytes:
    """Put a constant into a register."""
    return _expression("immediate", be32(1, register), nested(2, attribute(1, value)))


def masquerade() -> bytes:
    return _expression("masq")


def counter() -> bytes:
    return _expression("counter")


def change_destination(family: int, address_register: int, port_register: int) -> bytes:
    return _expression(
        "nat", be32(1, 1), be32(2, family), be32(3, address_register), be32(5, port_register)
    )


# Messages


def _header(family: int, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)


def _message(kind: int, payload: bytes, flags: int = 0, family: int = INET) -> Message:
    return Message(_SUBSYSTEM << 8 | kind, _header(family) + payload, flags)


def add_table(table: str, *, new: bool = False) -> Message:
    """Make a table; fine if it is there, or with ``new`` EEXIST."""
    flags = NLM_F_CREATE | NLM_F_EXCL if new else NLM_F_CREATE
    return _message(_NEWTABLE, text(1, table) + be32(2, 0), flags)


def delete_table(table: str) -> Message:
    return _message(_DELTABLE, text(1, table))


def add_chain(table: str, chain: Chain) -> Message:
    payload = text(1, table) + text(3, chain.name)
    if chain.kind:
        payload += nested(4, be32(1, chain.hook), be32(2, chain.priority))
        payload += be32(5, ACCEPT) + text(7, chain.kind)
    return _message(_NEWCHAIN, payload, NLM_F_CREATE)


def add_set(table: str, one: Set, identity: int) -> Message:
    """``identity`` is unique among the sets of one batch."""
    key_number, key_size = _joined(one.key)
    flags = (_SET_MAP if one.data else 0) | (_SET_INTERVAL | _SET_CONCAT if one.ranges else 0)
    payload = text(1, table) + text(2, one.name)
    payload += be32(3, flags) + be32(4, key_number) + be32(5, key_size)
    if one.data:
        data_number, data_size = _joined(one.data)
        payload += be32(6, data_number) + be32(7, data_size)
    if one.ranges:
        fields = [nested(1, be32(1, part.size)) for part in one.key]
        payload += nested(9, nested(2, *fields))
    payload += be32(10, identity) + attribute(13, _SET_HINTS)
    return _message(_NEWSET, payload, NLM_F_CREATE)


def _joined(types: Sequence[DataType]) -> tuple[int, int]:
    number = 0
    for one in types:
        number = number << 6 | one.number
    if len(types) == 1:
        return number, types[0].size
    return number, sum((one.size + 3) & ~3 for one in types)


def add_rule(
    table: str,
    chain: str,
    *expressions: bytes,
    family: int = INET,
    comment: str = "",
    first: bool = False,
) -> Message:
    """Add a rule at the end of its chain, or before all others."""
    payload = text(1, table) + text(2, chain) + nested(4, *expressions)
    if comment:
        payload += attribute(7, _comment(comment))
    flags = NLM_F_CREATE if first else NLM_F_CREATE | NLM_F_APPEND
    return _message(_NEWRULE, payload, flags, family)


def _comment(comment: str) -> bytes:
    # libnftnl's user data: one byte of type (0 is a comment), one of length, the text with a zero.
    data = comment.encode() + b"\0"
    return bytes([0, len(data)]) + data


def delete_rule(table: str, chain: str, handle: int, family: int = INET) -> Message:
    return _message(_DELRULE, text(1, table) + text(2, chain) + be64(3, handle), 0, family)


def add_elements(table: str, name: str, elements: Sequence[Element]) -> list[Message]:
    """EEXIST if a key is there already."""
    return [
        _message(_NEWSETELEM, _elements(table, name, part), NLM_F_CREATE | NLM_F_EXCL)
        for part in _parts(elements)
    ]


def delete_elements(table: str, name: str, elements: Sequence[Element]) -> list[Message]:
    """ENOENT if a key is not there."""
    return [_message(_DELSETELEM, _elements(table, name, part)) for part in _parts(elements)]


def _parts(elements: Sequence[Element]) -> Iterable[Sequence[Element]]:
    for start in range(0, len(elements), _ELEMENTS_A_MESSAGE):
        yield elements[start : start + _ELEMENTS_A_MESSAGE]


def _elements(table: str, name: str, elements: Sequence[Element]) -> bytes:
    return text(1, table) + text(2, name) + nested(3, *map(_element, elements))


def _element(element: Element) -> bytes:
    parts = nested(1, attribute(1, element.key))
    if element.data:
        parts += nested(2, attribute(1, element.data))
    if element.last:
        parts += nested(10, attribute(1, element.last))
    return nested(1, parts)


class NftConnection:
    """nf_tables in the namespace of the thread that makes it. Methods raise NetlinkError."""

    def __init__(self) -> None:
        self._connection = Connection(NETLINK_NETFILTER)

    def close(self) -> None:
        self._connection.close()

    @property
    def port(self) -> int:
        """See :attr:`Connection.port`."""
        return self._connection.port

    def transact(self, messages: Sequence[Message]) -> None:
        """Apply all changes in one step, or none."""
        begin = Message(_BATCH_BEGIN, _header(socket.AF_UNSPEC, _SUBSYSTEM))
        end = Message(_BATCH_END, _header(socket.AF_UNSPEC, _SUBSYSTEM))
        self._connection.transact(begin, messages, end)

    def has_table(self, table: str) -> bool:
        return self._exists(_message(_GETTABLE, text(1, table)))

    def chain_policy(self, family: int, table: str, chain: str) -> int | None:
        """The policy of a chain; None if there is no such chain, or it has none."""
        message = _message(_GETCHAIN, text(1, table) + text(3, chain), family=family)
        try:
            reply = self._connection.call(message)[0]
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        policy = attributes(reply[4:]).get(5)
        return int.from_bytes(policy, "big") if policy else None

    def rules(self, family: int, table: str, chain: str) -> list[Rule]:
        """The rules of a chain in order; none if there is no such chain."""
        message = _message(_GETRULE, text(1, table) + text(2, chain), family=family)
        try:
            return [_parse_rule(reply) for reply in self._connection.dump(message)]
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return []
            raise

    def _exists(self, message: Message) -> bool:
        try:
            self._connection.call(message)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True


def _parse_rule(payload: bytes) -> Rule:
    found = dict(attribute_list(payload[4:]))
    data = found.get(7, b"")
    comment = string_of(data[2:]) if data[:1] == b"\0" else ""
    return Rule(int.from_bytes(found[3], "big"), comment)
