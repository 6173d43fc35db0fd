"""A conversation with one netlink family of the kernel.

The kernel handles a request while it is being sent (netlink_unicast calls the family's receiver
in the sender's context), so the answers are there when ``send`` returns: one system call to ask
and one for each answer, no waiting.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Sequence

from wherry.sys.netlink.wire import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    Received,
    attributes,
    split_messages,
    string_of,
)

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_BUFFER = 4 * 1024 * 1024
_DATAGRAM = 64 * 1024
_NLMSGERR_ATTR_MSG = 1
_DUMP_ATTEMPTS = 10


class NetlinkError(OSError):
    """The kernel refused a request. ``strerror`` is its own explanation where it gave one."""


class Connection:
    """One netlink socket, in the network namespace of the thread that makes it.

    It stays in that namespace wherever it is used from. Safe to call from several threads.
    """

    def __init__(self, family: int) -> None:
        """``family`` is NETLINK_ROUTE or NETLINK_NETFILTER. OSError if the kernel lacks it."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
        self._lock = threading.Lock()
        self._sequence = 0
        try:
            self._prepare()
        except BaseException:
            self._socket.close()
            raise

    def _prepare(self) -> None:
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):  # a limit, nothing is allocated
            self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._socket.bind((0, 0))

    @property
    def port(self) -> int:
        """The number by which the kernel knows this socket."""
        return int(self._socket.getsockname()[0])

    def call(self, *messages: Message) -> list[bytes]:
        """Send messages together; the payloads of what the kernel answers but acknowledgements.

        The kernel handles each message on its own, so those after one that fails happen too.
        NetlinkError is that of the first that failed.
        """
        with self._lock:
            first = self._send(messages, NLM_F_REQUEST | NLM_F_ACK)
            waiting = set(range(first, first + len(messages)))
            replies: list[bytes] = []
            failure: NetlinkError | None = None
            while waiting:
                for received in self._receive():
                    if received.sequence not in waiting:
                        continue  # the remains of an earlier, interrupted conversation
                    if received.kind != NLMSG_ERROR:
                        replies.append(received.payload)
                        continue
                    waiting.discard(received.sequence)
                    failure = failure or _failure(received)
        if failure:
            raise failure
        return replies

    def dump(self, message: Message) -> list[bytes]:
        """All objects of a kind, consistent: the kernel is asked again if they changed between."""
        for _ in range(_DUMP_ATTEMPTS):
            with self._lock:
                complete, replies = self._dump_once(message)
            if complete:
                break
        return replies

    def _dump_once(self, message: Message) -> tuple[bool, list[bytes]]:
        sequence = self._send((message,), NLM_F_REQUEST | NLM_F_DUMP)
        replies: list[bytes] = []
        complete = True
        while True:
            for received in self._receive():
                if received.sequence != sequence:
                    continue
                complete = complete and not received.flags & NLM_F_DUMP_INTR
                if received.kind in (NLMSG_DONE, NLMSG_ERROR):
                    if failure := _failure(received):
                        raise failure
                    return complete, replies
                replies.append(received.payload)

    def transact(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Send an nf_tables batch: all of it happens or nothing. NetlinkError of the first error.

        The last message alone is acknowledged; the kernel reports an error of any.
        """
        with self._lock:
            last = Message(messages[-1].kind, messages[-1].payload, messages[-1].flags | NLM_F_ACK)
            first = self._send((begin, *messages[:-1], last, end), NLM_F_REQUEST)
            answers = [one for one in self._pending() if one.sequence >= first]
        for answer in answers:
            if failure := _failure(answer):
                raise failure
        if not answers:
            raise NetlinkError(errno.EPROTO, "the kernel did not answer a batch of changes")

    def _pending(self) -> list[Received]:
        """All that the kernel has answered so far."""
        found: list[Received] = []
        try:
            while datagram := self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT):
                found += split_messages(datagram)
        except BlockingIOError:
            pass
        return found

    def _send(self, messages: Sequence[Message], flags: int) -> int:
        first = self._sequence + 1
        self._sequence += len(messages)
        parts = [message.encode(first + n, flags) for n, message in enumerate(messages)]
        self._socket.send(b"".join(parts))
        return first

    def _receive(self) -> list[Received]:
        return list(split_messages(self._socket.recv(_DATAGRAM)))

    def close(self) -> None:
        self._socket.close()


def _failure(received: Received) -> NetlinkError | None:
    """What an acknowledgement or the end of a dump says: None if all is well."""
    if len(received.payload) < 4:
        return None
    (code,) = struct.unpack_from("=i", received.payload)
    if code >= 0:
        return None
    explanation = _explanation(received) or os.strerror(-code)
    return NetlinkError(-code, explanation)


def _explanation(received: Received) -> str:
    """The extended acknowledgement's text (linux/netlink.h, enum nlmsgerr_attrs)."""
    if received.kind != NLMSG_ERROR or not received.flags & NLM_F_ACK_TLVS:
        return ""
    offset = 4 + 16  # struct nlmsgerr: the code and the header of the request
    if not received.flags & NLM_F_CAPPED:
        (size,) = struct.unpack_from("=I", received.payload, 4)
        offset = 4 + ((size + 3) & ~3)
    found = attributes(received.payload[offset:]).get(_NLMSGERR_ATTR_MSG, b"")
    return string_of(found)
