"""The client of systemd's socket against a manager of the tests' own, by the real protocol."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, new_error, new_method_return, new_signal
from jeepney.low_level import Message, Parser
from tests.patience import patience

from wherry.cgroup.bus import Manager, SystemdError
from wherry.cgroup.host import open_cgroups
from wherry.cgroup.systemd import check_systemd
from wherry.errors import NotFound, NotSupported, Unavailable

Answer = Callable[[Message], list[Message] | None]
"""Answers a call; None: the manager goes away."""
_EMITTER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")


def job_removed(job: str, result: str) -> Message:
    return new_signal(_EMITTER, "JobRemoved", "uoss", (1, job, "x.scope", result))


class FakeManager(threading.Thread):
    """Accepts one client and answers its calls one after the other."""

    def __init__(self, path: Path, answer: Answer, refuse: bool = False) -> None:
        super().__init__(daemon=True)
        self.calls: list[tuple[str, Any]] = []
        self._answer = answer
        self._refuse = refuse
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(patience(10))
        self._listener.bind(str(path))
        self._listener.listen()

    def run(self) -> None:
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            connection.settimeout(patience(10))
            if self._refuse:
                connection.recv(100)
                connection.sendall(b"REJECTED EXTERNAL\r\n")
                return
            self._let_in(connection)
            self._serve(connection)

    def _let_in(self, connection: socket.socket) -> None:
        said = b""
        while not said.endswith(b"\r\n"):
            said += connection.recv(100)
        assert said.startswith(b"\0AUTH EXTERNAL ")
        connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        begin = b""
        while begin != b"BEGIN\r\n":
            begin += connection.recv(7 - len(begin))

    def _serve(self, connection: socket.socket) -> None:
        parser, serial = Parser(), 100
        while data := connection.recv(4096):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                self.calls.append((message.header.fields[HeaderFields.member], message.body))
                answers = self._answer(message)
                if answers is None:
                    return
                for answer in answers:
                    serial += 1
                    connection.sendall(answer.serialise(serial))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[..., FakeManager]]:
    started: list[FakeManager] = []

    def start(answer: Answer, *, refuse: bool = False) -> FakeManager:
        made = FakeManager(tmp_path / "private", answer, refuse)
        made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.join(patience(10))
        assert not made.is_alive()


def test_a_job_is_waited_for(manager: Callable[..., FakeManager], tmp_path: Path) -> None:
    def answer(call: Message) -> list[Message]:
        return [
            job_removed("/job/9", "failed"),  # somebody else's
            new_method_return(call, "o", ("/job/1",)),
            job_removed("/job/2", "failed"),
            job_removed("/job/1", "done"),
        ]

    served = manager(answer)
    with Manager(str(tmp_path / "private")) as client:
        properties = [("PIDs", ("au", [7])), ("Delegate", ("b", True))]
        body = ("x.scope", "fail", properties, [])
        assert client.run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", *body) == "done"
    assert served.calls == [("StartTransientUnit", body)]


def test_the_end_of_a_job_may_come_before_its_name(
    manager: Callable[..., FakeManager], tmp_path: Path
) -> None:
    manager(lambda call: [job_removed("/j", "done"), new_method_return(call, "o", ("/j",))])
    with Manager(str(tmp_path / "private")) as client:
        assert client.run_job("StopUnit", "ss", "x.scope", "replace") == "done"


def test_refusals(manager: Callable[..., FakeManager], tmp_path: Path) -> None:
    names = iter(["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitExists"] * 2)
    manager(lambda call: [new_error(call, next(names), "s", ("no unit x",))])
    with Manager(str(tmp_path / "private")) as client:
        with pytest.raises(NotFound, match="no unit x"):
            client.call("StopUnit", "ss", "x", "replace")
        with pytest.raises(SystemdError, match="systemd refuses: no unit x") as refused:
            client.call("StopUnit", "ss", "x", "replace")
        assert refused.value.name.endswith("UnitExists")
        client.try_call("ResetFailedUnit", "s", "x")
        client.try_call("ResetFailedUnit", "s", "x")


def test_a_manager_that_goes_away(manager: Callable[..., FakeManager], tmp_path: Path) -> None:
    manager(lambda call: None)
    with (
        Manager(str(tmp_path / "private")) as client,
        pytest.raises(Unavailable, match="closed the connection"),
    ):
        client.call("Subscribe", "")


def test_a_manager_that_lets_nobody_in(manager: Callable[..., FakeManager], tmp_path: Path) -> None:
    manager(lambda call: [], refuse=True)
    with pytest.raises(Unavailable, match="does not let us in"):
        Manager(str(tmp_path / "private"))


def test_no_manager_at_all(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="systemd cannot be asked at"):
        Manager(str(tmp_path / "private"))


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_without_systemd_there_is_one_sentence() -> None:
    with pytest.raises(NotSupported, match="systemd: it does not run here"):
        check_systemd(open_cgroups())
