"""Links, addresses and routes (rtnetlink(7), linux/if_link.h, linux/rtnetlink.h)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from wherry.sys.netlink.connection import NETLINK_ROUTE, Connection, NetlinkError
from wherry.sys.netlink.wire import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    attribute,
    attributes,
    nested,
    string_of,
    text,
    u8,
    u16,
    u32,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

IFF_UP = 0x1
_IFF_RUNNING = 0x40

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_MASTER, _IFLA_LINKINFO = 10, 18
_IFLA_OPERSTATE, _IFLA_GROUP, _IFLA_NET_NS_FD = 16, 27, 28
_IFLA_EXT_MASK, _SKIP_STATISTICS = 29, 1 << 3
_IF_OPER_UP = b"\x06"
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 254, 3, 0, 1
_RT_SCOPE_LINK = 253

_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")


class Link(msgspec.Struct, frozen=True):
    """A network interface. ``master`` is the index of its bridge, 0 without one."""

    index: int
    name: str
    mtu: int
    up: bool
    master: int
    kind: str  # "bridge", "veth", ...; empty for hardware
    running: bool
    """Whether it is operational (RFC 2863): what is sent through it is not dropped."""
    usable: bool
    """Whether it is running, or does not tell (IFF_RUNNING)."""


class Route(msgspec.Struct, frozen=True):
    """A unicast route of any table; ``destination`` None is a default route."""

    version: int  # 4 or 6
    destination: Prefix | None
    interface: int  # index, 0 if it has none or several


class Veth(msgspec.Struct, frozen=True):
    """A pair of virtual interfaces to make: ``name`` here, ``peer_name`` in ``peer_netns_fd``."""

    name: str
    master: int
    mtu: int
    mac: str
    peer_name: str
    peer_netns_fd: int
    peer_mac: str
    isolated: bool = False
    """The port exchanges frames with the bridge itself only, not with other isolated ports."""
    hairpin: bool = False
    """The bridge may send a frame back through the port that it came from."""


class Slice(msgspec.Struct, frozen=True):
    """A link of its own on top of another one, the *parent*, made in another namespace.

    ``kind`` is "macvlan", with a hardware address of its own, or "ipvlan", with its parent's.
    ``flag`` is of ipvlan only (linux/if_link.h, IPVLAN_F_).
    """

    kind: Literal["macvlan", "ipvlan"]
    parent: int  # index
    name: str
    netns_fd: int
    mode: str
    flag: str = "bridge"
    mac: str = ""
    mtu: int = 0  # bytes; 0: the parent's

    def data(self) -> bytes:
        if self.kind == "macvlan":
            return u32(1, _MACVLAN_MODES[self.mode])
        return u16(1, _IPVLAN_MODES[self.mode]) + u16(2, _IPVLAN_FLAGS[self.flag])


def _link_header(index: int = 0, up: bool = False) -> bytes:
    flag = IFF_UP if up else 0
    return _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, flag, flag)


def _link_info(kind: str, data: bytes = b"") -> bytes:
    parts = [text(_IFLA_INFO_KIND, kind)]
    if data:
        parts.append(nested(_IFLA_INFO_DATA, data))
    return nested(_IFLA_LINKINFO, *parts)


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class RouteConnection:
    """rtnetlink in the namespace of the thread that makes it. Methods raise NetlinkError."""

    def __init__(self) -> None:
        self._connection = Connection(NETLINK_ROUTE)

    def close(self) -> None:
        self._connection.close()

    def create_bridge(self, name: str, mtu: int, mac: str) -> Link:
        """Make a bridge and take it up. EEXIST."""
        payload = (
            _link_header(up=True)
            + text(_IFLA_IFNAME, name)
            + u32(_IFLA_MTU, mtu)
            + attribute(_IFLA_ADDRESS, _mac_bytes(mac))
            + _link_info("bridge")
        )
        self._connection.call(Message(_RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL))
        return self.link(name)

    def create_veth(self, veth: Veth) -> None:
        """Make a pair, this end up and in its bridge, the other in its namespace. EEXIST."""
        peer = (
            _link_header()
            + text(_IFLA_IFNAME, veth.peer_name)
            + u32(_IFLA_MTU, veth.mtu)
            + attribute(_IFLA_ADDRESS, _mac_bytes(veth.peer_mac))
            + u32(_IFLA_NET_NS_FD, veth.peer_netns_fd)
        )
        payload = (
            _link_header(up=True)
            + text(_IFLA_IFNAME, veth.name)
            + u32(_IFLA_MTU, veth.mtu)
            + attribute(_IFLA_ADDRESS, _mac_bytes(veth.mac))
            + u32(_IFLA_MASTER, veth.master)
            + _link_info("veth", nested(_VETH_INFO_PEER, peer))
        )
        messages = [Message(_RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL)]
        if veth.isolated or veth.hairpin:
            messages.append(_port_options(veth))
        self._connection.call(*messages)

    def create_slice(self, one: Slice) -> None:
        """Make a link over a parent, inside a namespace. EEXIST; EBUSY if the parent cannot be
        shared in this mode; EOPNOTSUPP if the kernel has no such links."""
        payload = (
            _link_header()
            + text(_IFLA_IFNAME, one.name)
            + u32(_IFLA_LINK, one.parent)
            + u32(_IFLA_NET_NS_FD, one.netns_fd)
            + (attribute(_IFLA_ADDRESS, _mac_bytes(one.mac)) if one.mac else b"")
            + (u32(_IFLA_MTU, one.mtu) if one.mtu else b"")
            + _link_info(one.kind, one.data())
        )
        self._connection.call(Message(_RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL))

    def create_vlan(self, name: str, parent: int, number: int) -> Link:
        """Make a link for one VLAN (802.1Q) of another link, and take it up."""
        info = _link_info("vlan", u16(1, number))
        return self._create_up(name, u32(_IFLA_LINK, parent) + info)

    def create_dummy(self, name: str) -> Link:
        """Make a link that leads nowhere, and take it up."""
        return self._create_up(name, _link_info("dummy"))

    def _create_up(self, name: str, more: bytes) -> Link:
        payload = _link_header(up=True) + text(_IFLA_IFNAME, name) + more
        self._connection.call(Message(_RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL))
        return self.link(name)

    def knows_kind(self, kind: str) -> bool:
        """Whether the kernel has links of a kind that needs a parent. It is asked for one without
        a parent, which loads the module and then is refused."""
        payload = _link_header() + text(_IFLA_IFNAME, "wherry-probe") + _link_info(kind)
        try:
            self._connection.call(Message(_RTM_NEWLINK, payload, NLM_F_CREATE | NLM_F_EXCL))
        except NetlinkError as error:
            return error.errno != errno.EOPNOTSUPP
        return True

    def link(self, name: str) -> Link:
        """ENODEV if there is none."""
        payload = _link_header() + text(_IFLA_IFNAME, name)
        return _parse_link(self._connection.call(Message(_RTM_GETLINK, payload))[0])

    def mtu_of(self, index: int) -> int:
        """In bytes. ENODEV if there is no such link."""
        return _parse_link(self._connection.call(Message(_RTM_GETLINK, _link_header(index)))[0]).mtu

    def find_link(self, name: str) -> Link | None:
        try:
            return self.link(name)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def are_running(self, *names: str) -> bool:
        """Whether all these links are operational. The kernel makes a link so some time after it
        was taken up; since Linux 6.8 at the latest when it is asked."""
        asked = [Message(_RTM_GETLINK, _link_header() + text(_IFLA_IFNAME, one)) for one in names]
        return all(_parse_link(reply).running for reply in self._connection.call(*asked))

    def take_up(self, name: str) -> Link:
        """Set a link up, and say what it is."""
        named = text(_IFLA_IFNAME, name)
        up = Message(_RTM_NEWLINK, _link_header(up=True) + named)
        return _parse_link(
            self._connection.call(up, Message(_RTM_GETLINK, _link_header() + named))[0]
        )

    def set_master(self, name: str, master: int) -> None:
        """Join a link to a bridge."""
        payload = _link_header() + text(_IFLA_IFNAME, name) + u32(_IFLA_MASTER, master)
        self._connection.call(Message(_RTM_NEWLINK, payload))

    def configure(
        self, index: int, interfaces: Sequence[Interface], gateways: Sequence[Address]
    ) -> None:
        """Give a link that is up its addresses, and default routes through it."""
        messages = [_add_address(index, interface) for interface in interfaces]
        flags = NLM_F_CREATE | NLM_F_EXCL
        messages += [_default_route(index, gateway, flags) for gateway in gateways]
        if messages:
            self._connection.call(*messages)

    def replace_default_route(self, index: int, gateway: Address) -> None:
        """Lead the default route of the gateway's address family through it; through the link
        itself if it is the unspecified address."""
        self._connection.call(_default_route(index, gateway, NLM_F_CREATE | NLM_F_REPLACE))

    def delete_link(self, name: str) -> bool:
        """Remove a link, and its peer; False if there was none. Waits for a grace period of the
        kernel, tens of milliseconds."""
        payload = _link_header() + text(_IFLA_IFNAME, name)
        try:
            self._connection.call(Message(_RTM_DELLINK, payload))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def delete_links(self, names: Iterable[str], group: int) -> None:
        """Remove links together, which takes one grace period for all; missing ones are fine.

        ``group`` is an interface group (ip-link(8)) that nothing else uses.
        """
        marks = [
            Message(
                _RTM_NEWLINK, _link_header() + text(_IFLA_IFNAME, name) + u32(_IFLA_GROUP, group)
            )
            for name in names
        ]
        removal = Message(_RTM_DELLINK, _link_header() + u32(_IFLA_GROUP, group))
        for message in (*marks, removal):
            try:
                self._connection.call(message)
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    raise

    def links(self) -> list[Link]:
        wanted = _link_header() + u32(_IFLA_EXT_MASK, _SKIP_STATISTICS)
        return [_parse_link(one) for one in self._connection.dump(_all(_RTM_GETLINK, wanted))]

    def addresses(self) -> list[tuple[int, Interface]]:
        """Index of the link and address with prefix length, of all links."""
        header = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        replies = self._connection.dump(_all(_RTM_GETADDR, header))
        return [found for reply in replies if (found := _parse_address(reply))]

    def routes(self) -> list[Route]:
        """Unicast routes of both address families and all tables."""
        return [route for reply in self._routes() if (route := _parse_route(reply))]

    def default_routes(self) -> list[Route]:
        """Those of :meth:`routes` that lead everywhere; a host may have thousands of others."""
        replies = (reply for reply in self._routes() if not _RTMSG.unpack_from(reply)[1])
        found = (_parse_route(reply) for reply in replies)
        return [route for route in found if route and route.destination is None]

    def _routes(self) -> list[bytes]:
        found: list[bytes] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            header = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            found += self._connection.dump(_all(_RTM_GETROUTE, header))
        return found


def _all(kind: int, header: bytes) -> Message:
    return Message(kind, header)


def _port_options(veth: Veth) -> Message:
    data = u8(_IFLA_BRPORT_ISOLATED, veth.isolated) + u8(_IFLA_BRPORT_MODE, veth.hairpin)
    payload = (
        _link_header()
        + text(_IFLA_IFNAME, veth.name)
        + nested(
            _IFLA_LINKINFO,
            text(_IFLA_INFO_SLAVE_KIND, "bridge"),
            nested(_IFLA_INFO_SLAVE_DATA, data),
        )
    )
    return Message(_RTM_NEWLINK, payload)


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _add_address(index: int, interface: Interface) -> Message:
    header = _IFADDRMSG.pack(
        _family(interface.ip), interface.network.prefixlen, 0, _RT_SCOPE_UNIVERSE, index
    )
    payload = header + attribute(_IFA_LOCAL, interface.ip.packed)
    payload += attribute(_IFA_ADDRESS, interface.ip.packed)
    if interface.version == 6:
        payload += u32(_IFA_FLAGS, _IFA_F_NODAD)
    elif interface.network.prefixlen < 31:
        payload += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return Message(_RTM_NEWADDR, payload, NLM_F_CREATE | NLM_F_REPLACE)


def _default_route(index: int, gateway: Address, flags: int) -> Message:
    """Without a next hop if the gateway is the unspecified address: all is on the link then."""
    on_link = gateway.is_unspecified
    scope = _RT_SCOPE_LINK if on_link and gateway.version == 4 else _RT_SCOPE_UNIVERSE
    header = _RTMSG.pack(
        _family(gateway), 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0
    )
    payload = header + (b"" if on_link else attribute(_RTA_GATEWAY, gateway.packed))
    payload += u32(_RTA_OIF, index)
    return Message(_RTM_NEWROUTE, payload, flags)


def _number(found: dict[int, bytes], kind: int) -> int:
    return int(struct.unpack("=I", found[kind])[0]) if kind in found else 0


def _parse_link(payload: bytes) -> Link:
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(payload)
    found = attributes(payload[_IFINFOMSG.size :])
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=string_of(found.get(_IFLA_IFNAME, b"")),
        mtu=_number(found, _IFLA_MTU),
        up=bool(flags & IFF_UP),
        master=_number(found, _IFLA_MASTER),
        kind=string_of(info.get(_IFLA_INFO_KIND, b"")),
        running=found.get(_IFLA_OPERSTATE) == _IF_OPER_UP,
        usable=bool(flags & _IFF_RUNNING),
    )


def _parse_address(payload: bytes) -> tuple[int, Interface] | None:
    _, prefix, _, _, index = _IFADDRMSG.unpack_from(payload)
    found = attributes(payload[_IFADDRMSG.size :])
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed is None:
        return None
    return index, ipaddress.ip_interface((packed, prefix))


def _parse_route(payload: bytes) -> Route | None:
    family, prefix, _, _, _, _, _, kind, _ = _RTMSG.unpack_from(payload)
    if kind != _RTN_UNICAST:
        return None
    found = attributes(payload[_RTMSG.size :])
    destination = None
    if prefix and _RTA_DST in found:
        destination = ipaddress.ip_network((found[_RTA_DST], prefix), strict=False)
    version = 4 if family == socket.AF_INET else 6
    return Route(version, destination, _number(found, _RTA_OIF))
