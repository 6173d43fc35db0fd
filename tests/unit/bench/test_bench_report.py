"""The benchmark's table and rounds, on engines that are only numbers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.engines.base import Engine
from bench.measure import Outcome, Result, measure
from bench.processes import CommandError, family, parent, pss
from bench.proxy import serve
from bench.report import as_json, table, verdict
from bench.rows import ROWS
from bench.rows.base import Row


class Numbers(Engine):
    """An engine whose work takes as long as it is told."""

    def __init__(self, name: str, values: list[float]) -> None:
        super().__init__(Path("/nonexistent"))
        self.name = name
        self.values = values


class Work(Row):
    title = "work"
    target = 0.5

    def __init__(self) -> None:
        self.order: list[str] = []

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[str]:
        yield f"setting of {engine.name}"

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(engine, Numbers)
        assert setting == f"setting of {engine.name}"
        self.order.append(engine.name)
        if not engine.values:
            raise CommandError("no more")
        return engine.values.pop(0)


def test_engines_take_turns_and_the_first_round_does_not_count() -> None:
    row = Work()
    engines = [Numbers("wherry", [99, 1, 3, 2]), Numbers("dockerd", [99, 10, 30, 20])]
    (result,) = measure([row], engines, rounds=3)
    assert row.order == ["wherry", "dockerd"] * 4
    assert result.outcomes["wherry"].samples == [1, 3, 2]
    assert result.ratio("wherry", "dockerd") == 0.1
    assert verdict(result) == "reached"


def test_an_engine_that_fails_does_not_stop_the_others() -> None:
    engines = [Numbers("wherry", [1]), Numbers("dockerd", [4, 4, 4])]
    (result,) = measure([Work()], engines, rounds=2)
    assert result.outcomes["wherry"].median is None
    assert result.outcomes["dockerd"].median == 4
    text = table([result], ["wherry", "dockerd"])
    assert "failed" in text
    assert "wherry, work: no more" in text
    assert verdict(result) == ""


@pytest.mark.parametrize(
    ("more_is_better", "ours", "theirs", "target", "word"),
    [
        (False, 50.0, 100.0, 0.5, "reached"),
        (False, 51.0, 100.0, 0.5, "missed"),
        (True, 800.0, 100.0, 8.0, "reached"),
        (True, 799.0, 100.0, 8.0, "missed"),
    ],
)
def test_verdicts(
    more_is_better: bool, ours: float, theirs: float, target: float, word: str
) -> None:
    row = Work()
    row.more_is_better, row.target = more_is_better, target
    outcomes = {"wherry": Outcome([ours]), "dockerd": Outcome([theirs])}
    assert verdict(Result(row, outcomes)) == word


def test_limits_need_no_peer() -> None:
    row = Work()
    row.target, row.limit, row.unit = None, 1.5, "MB"
    assert verdict(Result(row, {"wherry": Outcome([1.4])})) == "reached"
    assert verdict(Result(row, {"wherry": Outcome([1.6])})) == "missed"


def test_json_has_all_samples() -> None:
    result = Result(Work(), {"wherry": Outcome([1.0, 2.0])})
    told = json.loads(as_json([result], {"kernel": "Linux"}))
    assert told["machine"] == {"kernel": "Linux"}
    assert told["rows"][0]["engines"]["wherry"]["samples"] == [1.0, 2.0]


def test_rows_have_different_keys() -> None:
    keys = [row.key for row in ROWS]
    assert all(keys)
    assert len(set(keys)) == len(keys)


def test_families_and_their_weight() -> None:
    script = "import subprocess, sys; subprocess.run(['cat']); "
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        while len(found := family(child.pid)) < 2:
            assert child.poll() is None
        (grandchild,) = found - {child.pid}
        assert parent(grandchild) == child.pid
        assert parent(child.pid) == os.getpid()
        assert pss(found) >= pss([child.pid]) > 100_000


def test_proxy_connects() -> None:
    """The way out of the corner: CONNECT to a server, bytes both ways, ends passed on."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        port = target.getsockname()[1]
        threading.Thread(target=_echo_once, args=(target,), daemon=True).start()
        serve(server := socket.create_server(("127.0.0.1", 0)))
        with socket.create_connection(server.getsockname(), timeout=10) as client:
            client.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: client.recv(100), b"")) == b"hello"
        with socket.create_connection(server.getsockname(), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 405 ")


def _echo_once(target: socket.socket) -> None:
    connection, _ = target.accept()
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)
