"""Joining a client's connection to a stream of the engine, over real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from wherry.api.detach import BadDetachKeys, DetachFilter, parse_keys
from wherry.api.http.hangup import HangupWatch
from wherry.api.http.message import Answer, Request
from wherry.api.http.relay import Relay

_GREETING = b"HTTP/1.1 101 UPGRADED\r\n\r\n"
_ATTACH = b"POST /attach HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"


class _Bridge:
    """A handler that relays to the other end of ``far``."""

    def __init__(self, **options: Any) -> None:
        self.far, self._near = socket.socketpair()
        self.far.settimeout(10)
        self.ended = threading.Event()
        self.relay: Relay | None = None
        self._options = {"accept_input": True, **options}
        self._watch = HangupWatch()

    async def __call__(self, request: Request) -> Answer:
        self.relay = Relay(self._watch, **self._options)
        try:
            await self.relay.run(request.wire, _GREETING, self._open)
        finally:
            self.ended.set()
        return None

    async def _open(self) -> socket.socket:
        return self._near

    def close(self) -> None:
        self._watch.close()


@pytest.fixture
def bridged(serve: Any, wire: Any) -> Any:
    """``bridged(**options)`` gives the server, the handler and a client that is through."""
    with contextlib.ExitStack() as stack:

        def start(*, request: bytes = _ATTACH, **options: Any) -> tuple[Any, _Bridge, Any]:
            bridge = _Bridge(**options)
            running = serve(lambda: bridge)
            client = running.connect()
            stack.callback(client.close)
            stack.callback(bridge.far.close)
            client.sendall(request)
            assert wire.read_head(client) == _GREETING
            return running, bridge, client

        yield start


def test_bytes_go_both_ways_and_the_engines_end_is_the_end(bridged: Any, wire: Any) -> None:
    running, bridge, client = bridged()
    client.sendall(b"in")
    assert bridge.far.recv(10) == b"in"
    bridge.far.sendall(b"out")
    bridge.far.close()
    assert wire.read_all(client) == b"out"
    client.close()
    assert bridge.ended.wait(10)
    running.until(lambda: running.connections == 0)


def test_what_came_with_the_head_is_not_lost(bridged: Any) -> None:
    _, bridge, _ = bridged(request=_ATTACH + b"early")
    assert bridge.far.recv(10) == b"early"


def test_a_half_close_of_the_client_reaches_the_engine(bridged: Any, wire: Any) -> None:
    _, bridge, client = bridged()
    client.sendall(b"all of it")
    client.shutdown(socket.SHUT_WR)
    assert wire.read_all(bridge.far) == b"all of it"
    bridge.far.sendall(b"still here")
    bridge.far.shutdown(socket.SHUT_WR)
    assert wire.read_all(client) == b"still here"
    assert bridge.ended.wait(10)


def test_without_input_nothing_and_no_end_reaches_the_engine(bridged: Any, wire: Any) -> None:
    running, bridge, client = bridged(accept_input=False)
    client.sendall(b"ignored")
    client.shutdown(socket.SHUT_WR)
    running.on_loop(lambda: None)
    bridge.far.setblocking(False)
    with pytest.raises(BlockingIOError):
        bridge.far.recv(10)
    bridge.far.setblocking(True)
    bridge.far.sendall(b"x")
    bridge.far.close()
    assert wire.read_all(client) == b"x"


@pytest.mark.parametrize("before", ["nothing", "half-close"])
def test_a_client_that_vanishes_ends_the_relay(bridged: Any, wire: Any, before: str) -> None:
    _, bridge, client = bridged()
    if before == "half-close":
        client.shutdown(socket.SHUT_WR)
        assert wire.read_all(bridge.far) == b""
    client.close()
    assert bridge.ended.wait(10)
    assert wire.read_all(bridge.far) == b""


def test_what_a_vanished_client_sent_is_still_delivered(bridged: Any, wire: Any) -> None:
    _, bridge, client = bridged()
    data = os.urandom(100_000)
    client.sendall(data)
    client.close()
    assert wire.read_all(bridge.far) == data


def test_a_slow_client_slows_the_engine_down(bridged: Any, wire: Any) -> None:
    _, bridge, client = bridged()
    sent = wire.send_until_full(bridge.far)
    assert sent < 4 * 1024 * 1024
    bridge.far.close()
    assert len(wire.read_all(client)) == sent


def test_a_slow_engine_slows_the_client_down(bridged: Any, wire: Any) -> None:
    _, bridge, client = bridged()
    sent = wire.send_until_full(client)
    assert sent < 4 * 1024 * 1024
    client.shutdown(socket.SHUT_WR)
    assert len(wire.read_all(bridge.far)) == sent


def test_much_data_both_ways_at_once(bridged: Any, wire: Any) -> None:
    _, bridge, client = bridged()
    up, down = os.urandom(3_000_000), os.urandom(3_000_000)

    got: list[bytes] = []

    def engine_side() -> None:
        bridge.far.sendall(down)
        got.append(wire.read_all(bridge.far))
        bridge.far.shutdown(socket.SHUT_WR)

    def client_side() -> None:
        client.sendall(up)
        client.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=work) for work in (engine_side, client_side)]
    for thread in threads:
        thread.start()
    assert wire.read_all(client) == down
    for thread in threads:
        thread.join(10)
    assert got == [up]


def test_detach_keys_end_the_relay_and_are_not_passed_on(bridged: Any, wire: Any) -> None:
    _, bridge, client = bridged(inspect=DetachFilter(parse_keys("")))
    client.sendall(b"ls\r\x10")
    client.sendall(b"\x11more")
    assert wire.read_all(client) == b""
    assert wire.read_all(bridge.far) == b"ls\r"
    assert bridge.ended.wait(10)
    assert bridge.relay is not None
    assert bridge.relay.detached


def test_the_end_waits_until_it_is_settled(bridged: Any, wire: Any) -> None:
    asked: list[Future[None]] = []

    def settled() -> Future[None]:
        asked.append(Future())
        return asked[0]

    running, bridge, client = bridged(settled=settled)
    bridge.far.sendall(b"last")
    bridge.far.close()
    assert client.recv(10) == b"last"
    running.until(lambda: bool(asked))
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(10)
    client.setblocking(True)
    asked[0].set_result(None)
    assert client.recv(10) == b""


def test_stopping_the_server_ends_relays(bridged: Any, wire: Any) -> None:
    running, bridge, client = bridged()
    running.on_loop(running.halt)
    assert wire.read_all(client) == b""
    assert bridge.ended.wait(10)


def test_the_head_is_read_alone_even_if_output_is_there_already(serve: Any) -> None:
    """Clients that read the head through a buffer would lose what comes with it."""
    bridge = _Bridge()
    bridge.far.sendall(b"output")
    client = serve(lambda: bridge).connect()
    client.sendall(_ATTACH)
    assert client.recv(65536) == _GREETING
    assert client.recv(65536) == b"output"
    client.close()
    bridge.far.close()


@pytest.mark.parametrize(
    ("keys", "typed", "passed", "detached"),
    [
        ("", b"\x10\x11", b"", True),
        ("", b"\x10a", b"\x10a", False),
        ("", b"\x10\x10\x11", b"\x10", True),
        ("a,b,c", b"ababc", b"ab", True),
        ("a,a,b", b"aaab", b"a", True),
        ("ctrl-@,x", b"\x00xtail", b"", True),
        ("ctrl-\\", b"q\x1c", b"q", True),
    ],
)
def test_detach_filter(keys: str, typed: bytes, passed: bytes, detached: bool) -> None:
    assert DetachFilter(parse_keys(keys))(typed) == (passed, detached)


def test_the_beginning_of_a_sequence_is_held_back() -> None:
    keys = DetachFilter(parse_keys("a,b"))
    assert keys(b"xa") == (b"x", False)
    assert keys(b"c") == (b"ac", False)


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-1", "ab", "a,,b", "strg-a", "é"])
def test_bad_detach_keys_are_refused(keys: str) -> None:
    with pytest.raises(BadDetachKeys, match="invalid detach keys"):
        parse_keys(keys)
