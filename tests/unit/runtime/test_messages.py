"""Messages between the processes, over real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from wherry.errors import Conflict, InvalidArgument, NotFound
from wherry.runtime import messages as msg
from wherry.runtime.api import CommandNotFound, StartRequest

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_message_arrives_with_its_descriptors(pair: Pair) -> None:
    request = StartRequest(id="a", bundle="/b", state_dir="/s")
    reading, writing = os.pipe()
    msg.send(pair[0], msg.Start(request), [reading])
    os.close(reading)
    packet = msg.receive(pair[1], msg.to_launcher)
    assert packet is not None
    message, fds = packet
    assert message == msg.Start(request)
    os.write(writing, b"x")
    assert os.read(fds[0], 1) == b"x"
    assert not os.get_inheritable(fds[0])
    msg.close_all([*fds, writing])


def test_the_end_of_the_other_side(pair: Pair) -> None:
    pair[0].close()
    assert msg.receive(pair[1], msg.to_engine) is None


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"type":"nosuch"}', b'{"type":"exited"}'])
def test_what_is_not_understood_closes_its_descriptors(pair: Pair, data: bytes) -> None:
    reading, writing = os.pipe()
    msg.send_packet(pair[0], data, [writing])
    os.close(writing)
    with pytest.raises(InvalidArgument, match="not understood"):
        msg.receive(pair[1], msg.to_engine)
    assert os.read(reading, 1) == b""  # nobody has the other end any more
    os.close(reading)


@pytest.mark.parametrize("size", [100_000, 200_000, 3_000_000])
def test_long_messages_arrive_whole(pair: Pair, size: int) -> None:
    request = StartRequest(id="a" * size, bundle="/b", state_dir="/s")
    reading, writing = os.pipe()
    msg.send(pair[0], msg.Start(request), [writing])
    os.close(writing)
    packet = msg.receive(pair[1], msg.to_launcher)
    assert packet is not None
    assert packet[0] == msg.Start(request)
    assert len(packet[1]) == 1
    os.write(packet[1][0], b"x")
    assert os.read(reading, 1) == b"x"
    msg.close_all([*packet[1], reading])


def test_a_message_without_end_is_refused(pair: Pair) -> None:
    request = StartRequest(id="a" * (17 << 20), bundle="/b", state_dir="/s")
    with pytest.raises(InvalidArgument, match="too long"):
        msg.send(pair[0], msg.Start(request))


def test_a_long_message_without_its_file_is_not_understood(pair: Pair) -> None:
    pair[0].send(b"#")
    with pytest.raises(InvalidArgument, match="no descriptor"):
        msg.receive(pair[1], msg.to_launcher)


def test_too_many_descriptors_are_refused(pair: Pair) -> None:
    with pytest.raises(InvalidArgument, match="too many"):
        msg.send(pair[0], msg.Go("x"), [0] * (msg.MAX_FDS + 1))


@pytest.mark.parametrize("error", [CommandNotFound("a"), Conflict("b"), NotFound("c")])
def test_errors_travel_as_what_they_are(error: Exception) -> None:
    failed = msg.failure(error)
    back = msg.to_error(failed.kind, failed.message)
    assert (type(back), str(back)) == (type(error), str(error))


def test_an_error_of_ours_is_internal() -> None:
    failed = msg.failure(ZeroDivisionError())
    assert (failed.kind, failed.message) == ("internal", "ZeroDivisionError")
