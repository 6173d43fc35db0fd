"""Who begins an exec without waiting for it may listen for what is said of it, too."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import Box

from wherry.errors import WherryError
from wherry.runtime.api import ExitStatus, Listening, Process
from wherry.runtime.client import LauncherRuntime

pytestmark = pytest.mark.root


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[LauncherRuntime]:
    """One of its own: it is listened for only once."""
    found = LauncherRuntime(str(tmp_path / "exec-root"))
    yield found
    found.close()


def _take(listening: Listening) -> None:
    assert select.select([listening], [], [], patience(20.0))[0]
    listening.take()


def test_an_exec_is_told_of_where_it_is_listened_for(box: Box) -> None:
    container = box.start("sleep", "100")
    box.keep(box.runtime.exec(box.exec_request(container, "sleep", "100")))  # makes the server
    told: list[int] = []
    begun: Future[Process | WherryError] = Future()
    ended: Future[ExitStatus] = Future()

    def answered(outcome: Process | WherryError) -> None:
        told.append(threading.get_ident())
        begun.set_result(outcome)

    def exited(status: ExitStatus) -> None:
        told.append(threading.get_ident())
        ended.set_result(status)

    listening = box.runtime.listen_for_begun()
    listening.take()  # nothing has come, and nothing is waited for
    request = box.exec_request(container, "sh", "-c", "exit 7")
    assert box.runtime.exec_soon(request, (), answered)
    while not begun.done():
        _take(listening)
    process = begun.result()
    assert not isinstance(process, WherryError)
    process.on_exit(exited)
    while not ended.done():
        _take(listening)
    assert ended.result().code == 7
    assert told == [threading.get_ident()] * 2
    process.close()


def test_others_are_not_told_of_there(box: Box) -> None:
    container = box.start("sleep", "100")
    listening = box.runtime.listen_for_begun()
    ended: Future[ExitStatus] = Future()
    process = box.keep(box.runtime.exec(box.exec_request(container, "true")))
    process.on_exit(ended.set_result)
    assert ended.result(patience(20.0)).code == 0
    assert not select.select([listening], [], [], 0)[0]
