"""Starting an engine, with a small program in the engine's place."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.cli.autostart import start_engine
from wherry.client.session import Session
from wherry.errors import PermissionDenied, Unavailable

# Listens, notes its process id (appending: two of them would be seen), and answers nothing.
_ENGINE = """
import os, signal, socket, sys
with open(sys.argv[2], "a") as notes:
    notes.write(f"{os.getpid()} {os.getsid(0)}\\n")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
signal.pause()
"""


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "notes"
    yield path
    for line in path.read_text().splitlines() if path.exists() else ():
        os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.fixture(autouse=True)
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that root is needed has a test of its own; the rest needs no privilege."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def _session(tmp_path: Path) -> Session:
    return Session(f"unix://{tmp_path}/run/engine.sock")


def _engine(tmp_path: Path, notes: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", _ENGINE, f"{tmp_path}/run/engine.sock", str(notes))


def test_it_is_started_in_a_session_of_its_own(tmp_path: Path, notes: Path) -> None:
    with _session(tmp_path) as session:
        start_engine(session, _engine(tmp_path, notes))
    pid, sid = map(int, notes.read_text().split())
    assert pid == sid != os.getsid(0)


def test_a_race_starts_one(tmp_path: Path, notes: Path) -> None:
    command = _engine(tmp_path, notes)
    errors: list[BaseException] = []

    def start() -> None:
        try:
            with _session(tmp_path) as session:
                start_engine(session, command)
        except BaseException as error:  # noqa: BLE001  # it is looked at below
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(notes.read_text().splitlines()) == 1


def test_an_engine_that_ends_says_why(tmp_path: Path) -> None:
    script = "import sys; print('first', flush=True); sys.exit('the data root is in use')"
    with pytest.raises(Unavailable, match="ended with status 1: the data root is in use"):
        start_engine(_session(tmp_path), (sys.executable, "-c", script))


def test_an_engine_that_ends_in_silence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="said nothing"):
        start_engine(_session(tmp_path), ("/bin/false",))


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/engine.log").open("wb") as log:
        log.truncate(11 * 1024 * 1024)
    with pytest.raises(Unavailable, match="said nothing"):
        start_engine(_session(tmp_path), ("/bin/false",))
    assert (tmp_path / "run/engine.log.1").exists()


def test_root_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PermissionDenied, match="needs root"):
        start_engine(_session(tmp_path))
    assert not (tmp_path / "run").exists()
