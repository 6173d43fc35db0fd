"""Connection tracking (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import struct

from wherry.sys.netlink.connection import NETLINK_NETFILTER, Connection, NetlinkError
from wherry.sys.netlink.wire import Message, attribute, attributes, be16, nested, u8, u32

_SUBSYSTEM = 1
_GET, _DELETE = 1, 2
_HEADER = 4  # struct nfgenmsg
_TUPLE_ORIGINAL, _ID, _ZONE, _FILTER = 1, 12, 18, 25
_TUPLE_PROTOCOL, _FILTER_ORIGINAL = 2, 1
_PROTOCOL_NUMBER, _DESTINATION_PORT = 1, 3
_MATCH_PROTOCOL, _MATCH_DESTINATION_PORT = 1 << 3, 1 << 5


class ConntrackConnection:
    """Flows in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._connection = Connection(NETLINK_NETFILTER)

    def close(self) -> None:
        self._connection.close()

    def forget(self, family: int, protocol: int, port: int) -> None:
        """Forget flows whose first packet went to a port, so that their next packet is judged
        afresh. NetlinkError.

        They are listed and deleted one by one: 6.1 and others take a filter of a list only."""
        flags = _MATCH_PROTOCOL | _MATCH_DESTINATION_PORT
        layer = u8(_PROTOCOL_NUMBER, protocol) + be16(_DESTINATION_PORT, port)
        head = struct.pack(">BBH", family, 0, 0)
        wanted = (
            head
            + nested(_TUPLE_ORIGINAL, nested(_TUPLE_PROTOCOL, layer))
            + nested(_FILTER, u32(_FILTER_ORIGINAL, flags))
        )
        for flow in self._connection.dump(Message(_SUBSYSTEM << 8 | _GET, wanted)):
            self._delete(head, attributes(flow[_HEADER:]))

    def _delete(self, head: bytes, flow: dict[int, bytes]) -> None:
        """Unless it has ended meanwhile; the identity keeps a later one of the same ends."""
        payload = head + nested(_TUPLE_ORIGINAL, flow[_TUPLE_ORIGINAL])
        payload += b"".join(attribute(kind, flow[kind]) for kind in (_ID, _ZONE) if kind in flow)
        try:
            self._connection.call(Message(_SUBSYSTEM << 8 | _DELETE, payload))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
