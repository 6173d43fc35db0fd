"""The command on a real terminal, and signals, against a container that a test plays."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.patience import patience

from wherry.cli.terminal import parse_keys
from wherry.testing.fake_api import Answer, FakeApi, Request, frame

_ID = "ab" * 32
_PATIENCE = patience(20.0)  # seconds


class Player:
    """The container's side: what it is sent, and a way to say something."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.heard = b""
        self.ended = threading.Event()
        self.sizes: list[tuple[str, str]] = []
        self.signals: list[str] = []
        self._link: socket.socket | None = None
        self._changed = threading.Condition()
        path = f"/containers/{_ID}"
        api.on("POST", "/containers/create", status=201, json={"Id": _ID})
        api.on("POST", f"{path}/attach", takeover=self._attach)
        api.on("POST", f"{path}/wait", json={"StatusCode": 7})
        api.on("POST", f"{path}/start", status=204)
        api.on("POST", f"{path}/resize", handler=self._resize)
        api.on("POST", f"{path}/kill", handler=self._kill)

    def _attach(self, link: socket.socket, request: Request) -> None:
        self._link = link
        link.sendall(b"ready")
        while data := link.recv(4096):
            with self._changed:
                self.heard += data
                self._changed.notify_all()
        with self._changed:
            self.heard += b"<end>"
            self._changed.notify_all()
        self.ended.wait(_PATIENCE)

    def _resize(self, request: Request) -> Answer:
        with self._changed:
            self.sizes.append((request.query["h"], request.query["w"]))
            self._changed.notify_all()
        return Answer(200)

    def _kill(self, request: Request) -> Answer:
        with self._changed:
            self.signals.append(request.query["signal"])
            self._changed.notify_all()
        return Answer(204)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, _PATIENCE)

    def end(self) -> None:
        """The container's output ends."""
        assert self._link
        self._link.shutdown(socket.SHUT_RDWR)
        self.ended.set()


class Terminal:
    """A pseudo-terminal with a command on it."""

    def __init__(self, host: str, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(33, 77)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wherry.cli", "-H", host, *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, text: bytes) -> bytes:
        deadline, got = time.monotonic() + _PATIENCE, b""
        while text not in got:
            assert select.select([self.master], [], [], deadline - time.monotonic())[0], got
            got += os.read(self.master, 4096)
        return got

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    with FakeApi(tmp_path / "api.sock") as api:
        made = Player(api)
        yield made
        made.ended.set()


@pytest.fixture
def terminal(player: Player) -> Iterator[Terminal]:
    made = Terminal(player.api.host, "run", "-it", "busybox")
    made.read_until(b"ready")
    yield made
    made.close()


def test_keys_go_through_as_they_are(player: Player, terminal: Terminal) -> None:
    assert not terminal.restored
    os.write(terminal.master, b"a\x03\x1a\r")
    player.wait_for(lambda: player.heard == b"a\x03\x1a\r")
    player.end()
    assert terminal.process.wait(_PATIENCE) == 7
    assert terminal.restored


def test_the_size_is_told_early_and_when_it_changes(player: Player, terminal: Terminal) -> None:
    player.wait_for(lambda: player.sizes == [("33", "77")])
    created = player.api.asked("POST", "/containers/create").json
    assert created["HostConfig"]["ConsoleSize"] == [33, 77]
    terminal.resize(40, 100)
    terminal.process.send_signal(signal.SIGWINCH)
    player.wait_for(lambda: player.sizes[-1] == ("40", "100"))


def test_detach_keys(player: Player, terminal: Terminal) -> None:
    os.write(terminal.master, b"\x10\x11")
    player.wait_for(lambda: player.heard == b"\x10\x11")
    player.end()
    assert terminal.process.wait(_PATIENCE) == 0
    assert terminal.restored


def test_the_terminal_is_restored_when_the_client_is_ended(
    player: Player, terminal: Terminal
) -> None:
    for count in range(3):
        terminal.process.send_signal(signal.SIGTERM)
        if count < 2:
            player.wait_for(lambda: len(player.signals) > count)  # noqa: B023  # used at once
    assert terminal.process.wait(_PATIENCE) == 128 + signal.SIGTERM
    assert player.signals == ["15", "15"]
    assert terminal.restored


def test_the_end_of_input_is_half_a_close(player: Player) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry.cli", "-H", player.api.host, "run", "-i", "busybox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    player.api.on(
        "POST",
        f"/containers/{_ID}/attach",
        takeover=lambda link, request: link.sendall(frame(1, _heard(link))),
    )
    out, _ = process.communicate(b"x" * 500_000, _PATIENCE)
    assert (process.returncode, out) == (7, b"500000")


def _heard(link: socket.socket) -> bytes:
    count = 0
    while data := link.recv(65536):
        count += len(data)
    return str(count).encode()


def test_signals_go_to_the_container(player: Player) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry.cli", "-H", player.api.host, "run", "-t", "busybox"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.read(5) == b"ready"
    process.send_signal(signal.SIGUSR1)
    player.wait_for(lambda: player.signals == [str(int(signal.SIGUSR1))])
    player.end()
    assert process.wait(_PATIENCE) == 7
    process.stdout.close()


def test_without_a_proxy_a_signal_ends_the_client(player: Player) -> None:
    words = ["run", "-t", "--sig-proxy=false", "busybox"]
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry.cli", "-H", player.api.host, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    assert process.stdout.read(5) == b"ready"
    process.send_signal(signal.SIGHUP)
    assert process.wait(_PATIENCE) == 128 + signal.SIGHUP
    assert not player.signals
    process.stdout.close()


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a,ctrl-@", b"a\0"), ("ctrl-_", b"\x1f"), ("ctrl-1", b"")],
)
def test_key_sequences(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys
