"""What the kernel tells everybody of changes to nf_tables (NFNLGRP_NFTABLES)."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct

import msgspec

from wherry.sys.netlink.connection import NETLINK_NETFILTER
from wherry.sys.netlink.wire import attributes, split_messages, string_of

_GROUP = 7  # linux/netfilter/nfnetlink.h, NFNLGRP_NFTABLES
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER = 26
_SUBSYSTEM = 10
_NEWELEMENT, _DELELEMENT, _NEWGEN = 12, 14, 15
_HEADER = 4  # struct nfgenmsg
_TABLE = 1  # the attribute that names the table, of all kinds of message
_DATAGRAM = 64 * 1024
_DATAGRAMS = 256
"""That are taken at once; who never ceases to change rules is not to be listened to for ever."""

# Classic BPF (linux/filter.h): load a half word, jump if equal, return.
_LOAD, _JUMP, _RETURN = 0x28, 0x15, 0x06
_TYPE_OFFSET = 4  # of nlmsg_type in struct nlmsghdr
_ALL = 0xFFFFFFFF


class Change(msgspec.Struct, frozen=True):
    """A table was changed by whoever has the socket ``port``. Without a table: some changes were
    missed."""

    table: str
    port: int


_MISSED = Change("", 0)


class NftEvents:
    """Changes in the namespace of the thread that makes it, but for those of elements alone,
    which are frequent; they are dropped by the kernel."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        try:
            _attach(self._socket, (_NEWELEMENT, _DELELEMENT, _NEWGEN))
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        except BaseException:
            self._socket.close()
            raise

    def wait(self) -> list[Change]:
        """Waits for a change; it and all that came behind it, in the order in which they happened.
        None after :meth:`stop`.

        The kernel tells of a transaction in several datagrams, within it. So what is heard of one
        may be its beginning alone."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ready = [fd for fd, _ in poll.poll()]
        if self._wake in ready:
            return []
        found: list[Change] = []
        for _ in range(_DATAGRAMS):
            try:
                found += _changes(self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.append(_MISSED)
        return found or [_MISSED]

    def stop(self) -> None:
        """From any thread: :meth:`wait` returns."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        self._socket.close()
        os.close(self._wake)


def _changes(datagram: bytes) -> list[Change]:
    found = split_messages(datagram)
    return [Change(_table_of(one.payload), one.port) for one in found] or [_MISSED]


def _table_of(payload: bytes) -> str:
    return string_of(attributes(payload[_HEADER:]).get(_TABLE, b""))


def _attach(one: socket.socket, unwanted: tuple[int, ...]) -> None:
    """Have the kernel drop datagrams that begin with a message of these types. BPF loads in
    network byte order what netlink has in the host's."""
    program = [(_LOAD, 0, 0, _TYPE_OFFSET)]
    for n, kind in enumerate(unwanted):
        told = int.from_bytes(struct.pack("=H", _SUBSYSTEM << 8 | kind), "big")
        program.append((_JUMP, len(unwanted) - n, 0, told))
    program += [(_RETURN, 0, 0, _ALL), (_RETURN, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(code))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)
