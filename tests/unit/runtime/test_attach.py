"""One attached client: what is kept for it while it does not read."""

from __future__ import annotations

import socket

import pytest

from wherry.runtime.monitor import attach
from wherry.runtime.monitor.attach import BUFFER, Client


def client(*streams: int, raw: bool = False) -> tuple[Client, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    return Client(ours, frozenset(streams), raw), theirs


def test_frames_tell_the_stream_and_the_length() -> None:
    ours, theirs = client(1, 2)
    ours.deliver(1, b"out")
    ours.deliver(2, b"error")
    assert theirs.recv(100) == b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x05error"


def test_raw_output_has_no_frames_and_others_streams_are_left_out() -> None:
    ours, theirs = client(1, raw=True)
    ours.deliver(2, b"not this")
    ours.deliver(1, b"this")
    assert theirs.recv(100) == b"this"


def test_what_is_not_taken_is_kept_in_order_and_then_delivered() -> None:
    ours, theirs = client(1, raw=True)
    expected = b""
    for number in range(60):
        block = bytes([number]) * 32 * 1024
        ours.deliver(1, block)
        expected += block
    assert ours.full
    assert BUFFER <= ours.pending < len(expected)
    received = b""
    while len(received) < len(expected):
        received += theirs.recv(1 << 20)
        ours.flush()
    assert received == expected
    assert not ours.pending


def test_one_that_takes_nothing_for_too_long_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = client(1, raw=True)
    while not ours.full:
        ours.deliver(1, bytes(32 * 1024))
    assert not ours.stalled()
    now = attach.time.monotonic() + attach.STALLED + 1
    monkeypatch.setattr(attach.time, "monotonic", lambda: now)
    assert ours.stalled()
    theirs.close()


def test_one_that_has_gone_is_an_error() -> None:
    ours, theirs = client(1)
    theirs.close()
    with pytest.raises(BrokenPipeError):
        ours.deliver(1, b"x")
    assert ours.receive(10) == b""
