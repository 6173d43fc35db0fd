"""The disk is full, whatever is asked: one sentence, nothing half done, and all well afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.findings import wait_until_settled
from tests.faults.operations import image_archive, tar_of

from wherry.client import Client
from wherry.errors import WherryError

pytestmark = pytest.mark.root

Action = Callable[[Client, Path], object]


def create(client: Client, scratch: Path) -> None:
    client.containers.create("busybox", ["true"], name="new", volumes={"fresh": "/bin"})


def start(client: Client, scratch: Path) -> None:
    client.containers.get("idle").start()


def load(client: Client, scratch: Path) -> None:
    client.images.load([image_archive("new")])


def volume(client: Client, scratch: Path) -> None:
    client.volumes.create("new")


def network(client: Client, scratch: Path) -> None:
    client.networks.create("new")


def commit(client: Client, scratch: Path) -> None:
    client.session.post("/commit", {"container": "busy", "repo": "new-committed"}, json={})


def build(client: Client, scratch: Path) -> None:
    (scratch / "Dockerfile").write_text("FROM busybox\nCOPY file /file\n")
    (scratch / "file").write_bytes(b"x" * 500_000)
    client.images.build(scratch, tag="new-built")


def copy(client: Client, scratch: Path) -> None:
    archive = tar_of({"file": b"x" * 500_000})
    client.session.request("PUT", "/containers/busy/archive", {"path": "/"}, body=[archive]).read()


ACTIONS: tuple[Action, ...] = (create, start, load, volume, network, commit, build, copy)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is free."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    yield
    filler.unlink()


def _answer(action: Action, client: Client, scratch: Path) -> str:
    try:
        action(client, scratch)
    except WherryError as error:
        return str(error)
    return ""


def test_every_operation_on_a_full_disk(
    small_disk: Path, new_engine: Callable[..., EngineProcess], tmp_path: Path
) -> None:
    engine = new_engine(small_disk / "data")
    client = engine.start()
    client.images.bootstrap("busybox")
    client.containers.create("busybox", ["sleep", "600"], name="idle")
    client.containers.launch("busybox", ["sleep", "600"], name="busy")
    for action in ACTIONS:
        scratch = tmp_path / action.__name__
        scratch.mkdir()
        with full(small_disk):
            answer = _answer(action, client, scratch)
            assert "\n" not in answer
            assert not answer or "no space left on device" in answer, action.__name__
            assert client.containers.get("busy").exec(["true"]).exit_code == 0
        assert not wait_until_settled(engine, client), action.__name__
    # An end, of which nothing can be written down.
    busy = client.containers.get("busy")
    with full(small_disk):
        busy.stop(timeout=0)
        assert busy.wait() == 137
    engine.kill()
    client = engine.start()
    busy = client.containers.get("busy")
    assert busy.inspect().state.exit_code == 137
    busy.start()
    assert busy.exec(["true"]).exit_code == 0
    for name in ("busy", "idle"):
        client.containers.get(name).remove(force=True)
    assert not wait_until_settled(engine, client)
    engine.clear()
