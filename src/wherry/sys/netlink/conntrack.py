"""Connection tracking (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import struct

from wherry.sys.netlink.connection import NETLINK_NETFILTER, Connection, NetlinkError
from wherry.sys.netlink.wire import Message, be16, nested, u8, u32

_SUBSYSTEM = 1
_DELETE = 2
_TUPLE_ORIGINAL, _TUPLE_PROTOCOL, _FILTER, _FILTER_ORIGINAL = 1, 2, 25, 1
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
        afresh. NetlinkError, EINVAL or EOPNOTSUPP where the kernel cannot filter flows (<5.8)."""
        flags = _MATCH_PROTOCOL | _MATCH_DESTINATION_PORT
        layer = u8(_PROTOCOL_NUMBER, protocol) + be16(_DESTINATION_PORT, port)
        payload = (
            struct.pack(">BBH", family, 0, 0)
            + nested(_TUPLE_ORIGINAL, nested(_TUPLE_PROTOCOL, layer))
            + nested(_FILTER, u32(_FILTER_ORIGINAL, flags))
        )
        try:
            self._connection.call(Message(_SUBSYSTEM << 8 | _DELETE, payload))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
