"""The sockets by which a container is answered, made in its namespace by the engine.

They listen on ports that the kernel chooses, and a rule of the namespace's own leads 127.0.0.11:53
there: bound to port 53 they would keep a name server in the container (dnsmasq, CoreDNS) from
binding it on all addresses.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import ExitStack

import msgspec

from wherry.errors import InternalError
from wherry.network.sandbox import run_inside
from wherry.sys.netlink import nftables as nft
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.nftables import REGISTER, WORD
from wherry.sys.netlink.wire import Message

ADDRESS = "127.0.0.11"
_PORT = 53
_TABLE = "wherry_resolver"
_CHAIN = nft.Chain("output", "nat", nft.OUTPUT, -100)
_BACKLOG = 16


class ContainerSockets(msgspec.Struct, frozen=True):
    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def make_sockets(netns_fd: int) -> ContainerSockets:
    """Both sockets and the rules, in place of earlier ones. InternalError."""
    try:
        return run_inside(netns_fd, _make)
    except OSError as error:
        raise InternalError(
            f"cannot make the sockets of the embedded resolver: {error.strerror}"
        ) from error


def _make() -> ContainerSockets:
    with ExitStack() as undo:
        udp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        tcp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        for one in (udp, tcp):
            one.bind((ADDRESS, 0))
        tcp.listen(_BACKLOG)
        connection = nft.NftConnection()
        undo.callback(connection.close)
        _redirect_to(connection, udp.getsockname()[1], tcp.getsockname()[1])
        connection.close()
        undo.pop_all()
    return ContainerSockets(udp, tcp)


def _redirect_to(connection: nft.NftConnection, udp_port: int, tcp_port: int) -> None:
    """Replacing rules waits for grace periods of the kernel, 5 to 15 ms; making them does not."""
    rules = _rules(udp_port, tcp_port)
    try:
        connection.transact([nft.add_table(_TABLE, new=True), *rules])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        connection.transact([nft.delete_table(_TABLE), nft.add_table(_TABLE), *rules])


def _rules(udp_port: int, tcp_port: int) -> list[Message]:
    return [
        nft.add_chain(_TABLE, _CHAIN),
        nft.add_rule(_TABLE, _CHAIN.name, *_redirect(socket.IPPROTO_UDP, udp_port)),
        nft.add_rule(_TABLE, _CHAIN.name, *_redirect(socket.IPPROTO_TCP, tcp_port)),
    ]


def _redirect(protocol: int, port: int) -> tuple[bytes, ...]:
    """What goes to port 53 of the address goes to another port of it."""
    address = socket.inet_aton(ADDRESS)
    return (
        nft.is_family(nft.IPV4),
        nft.load_destination4(4),
        nft.compare(address),
        nft.load_protocol(REGISTER[0]),
        nft.compare(bytes([protocol])),
        nft.load_destination_port(REGISTER[0]),
        nft.compare(struct.pack(">H", _PORT)),
        nft.load_value(address, WORD[0]),
        nft.load_value(struct.pack(">H", port), WORD[1]),
        nft.change_destination(nft.IPV4, WORD[0], WORD[1]),
    )
