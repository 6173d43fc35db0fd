"""The encoding of netlink messages, and what is made of the kernel's errors."""

from __future__ import annotations

import errno
import struct

import pytest

from wherry.sys.netlink import connection, wire
from wherry.sys.netlink.wire import Message, Received


def test_a_message_has_a_header_and_is_padded() -> None:
    data = Message(16, b"abcde", wire.NLM_F_CREATE).encode(7)
    assert struct.unpack_from("=IHHII", data) == (21, 16, 0x401, 7, 0)
    assert data[16:] == b"abcde\0\0\0"


def test_attributes_are_padded_and_nest() -> None:
    data = wire.nested(3, wire.text(1, "abc"), wire.u32(2, 9))
    (kind, payload), *rest = wire.attribute_list(data)
    assert (kind, rest) == (3, [])
    assert wire.attributes(payload) == {1: b"abc\0", 2: struct.pack("=I", 9)}


def test_network_byte_order() -> None:
    assert wire.be16(1, 80)[4:6] == b"\0\x50"
    assert wire.be32(1, -5)[4:] == b"\xff\xff\xff\xfb"
    assert wire.be64(1, 1)[4:] == b"\0\0\0\0\0\0\0\1"


def test_a_payload_that_no_attribute_can_hold() -> None:
    with pytest.raises(ValueError, match="larger than 64 KiB"):
        wire.attribute(1, bytes(0xFFFF))


@pytest.mark.parametrize("size", [3, 200])
def test_lengths_that_make_no_sense(size: int) -> None:
    with pytest.raises(ValueError, match="netlink attribute"):
        list(wire.attribute_list(struct.pack("=HH", size, 1) + b"abcd"))
    with pytest.raises(ValueError, match="netlink message"):
        list(wire.split_messages(struct.pack("=IHHII", size, 1, 0, 0, 0)))


def test_the_kernels_own_words_are_the_error() -> None:
    capped = struct.pack("=i", -errno.EINVAL) + bytes(16) + wire.text(1, "Nexthop is bad")
    flags = wire.NLM_F_ACK_TLVS | wire.NLM_F_CAPPED
    failure = connection._failure(Received(wire.NLMSG_ERROR, flags, 1, capped))
    assert failure is not None
    assert (failure.errno, failure.strerror) == (errno.EINVAL, "Nexthop is bad")


def test_an_error_that_repeats_the_request() -> None:
    request = Message(24, b"xyz").encode(1)
    payload = struct.pack("=i", -errno.EPERM) + request + wire.text(1, "No")
    failure = connection._failure(Received(wire.NLMSG_ERROR, wire.NLM_F_ACK_TLVS, 1, payload))
    assert failure is not None
    assert failure.strerror == "No"


def test_an_error_without_words_and_an_acknowledgement() -> None:
    denied = Received(wire.NLMSG_ERROR, 0, 1, struct.pack("=i", -errno.EPERM) + bytes(16))
    fine = Received(wire.NLMSG_ERROR, 0, 1, bytes(20))
    failure = connection._failure(denied)
    assert failure is not None
    assert failure.strerror == "Operation not permitted"
    assert connection._failure(fine) is None
