"""A database that is damaged, cut or gone: the engine says so, and ``wherry system fsck`` helps."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.findings import wait_until_settled
from tests.faults.operations import image_archive

from wherry.client import Client

pytestmark = pytest.mark.root

PAGE = 4096
IMAGE = "some-loaded"


def fsck(engine: EngineProcess, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wherry.daemon.fsck", "--data-root", str(engine.data)]
    return subprocess.run([*command, *options], check=False, capture_output=True, text=True)


@pytest.fixture
def used(new_engine: Callable[..., EngineProcess]) -> EngineProcess:
    """A data root that was in use, with a volume that has content."""
    engine = new_engine()
    client = engine.start()
    client.images.load([image_archive("some")])
    for number in range(20):
        client.containers.create(IMAGE, ["true"], name=f"made{number}")
    Path(client.volumes.create("kept").mountpoint, "file").write_text("precious\n")
    engine.kill(signal.SIGTERM)
    return engine


def content(client: Client) -> str:
    return Path(client.volumes.inspect("kept").mountpoint, "file").read_text()


def leaf_of(path: Path, table: str) -> int:
    """The offset of a page that a table's rows are in: not its root."""
    with sqlite3.connect(path) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
        (count,) = db.execute("PRAGMA page_count").fetchone()
    data = path.read_bytes()
    assert data[(root - 1) * PAGE] in (2, 5), "the table has only one page"
    right = int.from_bytes(data[(root - 1) * PAGE + 8 : (root - 1) * PAGE + 12], "big")
    assert right <= count
    return (right - 1) * PAGE


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def flip(path: Path) -> None:
    """Turn a page with containers into noise."""
    offset = leaf_of(path, "containers")
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * PAGE)


def scribble(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


@pytest.mark.parametrize("damage", [cut, flip, scribble])
def test_a_damaged_database_loses_no_volume(
    used: EngineProcess, damage: Callable[[Path], None]
) -> None:
    damage(used.data / "wherry.db")
    if damage is not flip:  # SQLite sees a damaged page when it comes to it, and only then
        with pytest.raises(AssertionError, match=r"is damaged .*`wherry system fsck "):
            used.start()
    found = fsck(used)
    assert found.returncode == 1
    assert "is damaged" in found.stdout
    mended = fsck(used, "--repair")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert fsck(used).stdout == f"{used.data} is sound\n"
    assert len(list(used.data.glob("wherry.db.damaged-*"))) >= 1
    client = used.start()
    assert content(client) == "precious\n"
    client.images.load([image_archive("some")])
    client.containers.create(IMAGE, ["true"], name="new").remove()
    assert not wait_until_settled(used, client)


def test_rows_before_and_after_a_damaged_page_are_kept(used: EngineProcess) -> None:
    flip(used.data / "wherry.db")
    assert fsck(used, "--repair").returncode == 0
    client = used.start()
    assert 5 <= len(client.containers.list(everything=True)) < 20
    assert [image.repo_tags for image in client.images.list()] == [(f"{IMAGE}:latest",)]


def test_a_database_that_is_gone_takes_no_volume_along(used: EngineProcess) -> None:
    for path in used.data.glob("wherry.db*"):
        path.unlink()
    client = used.start()  # without fsck, even
    assert content(client) == "precious\n"


def test_a_log_of_the_database_that_is_gone_is_no_damage(
    new_engine: Callable[..., EngineProcess],
) -> None:
    engine = new_engine()
    client = engine.start()
    client.volumes.create("early")
    engine.kill()
    (engine.data / "wherry.db-wal").unlink()
    (engine.data / "wherry.db-shm").unlink(missing_ok=True)
    engine.start().ping()  # what was written last is lost, and all else is consistent
    engine.kill(signal.SIGTERM)
    assert fsck(engine).returncode == 0


def test_what_is_missing_is_named(used: EngineProcess) -> None:
    with sqlite3.connect(used.data / "wherry.db") as db:
        (key,) = db.execute("SELECT key FROM snapshot WHERE kind = 'active' LIMIT 1").fetchone()
        db.execute("UPDATE snapshot SET number = 999999 WHERE key = ?", (key,))
        db.execute("DELETE FROM volume WHERE name = 'kept'")
    blob = next((used.data / "blobs/sha256").iterdir())
    blob.write_bytes(b"something else")
    found = fsck(used)
    assert found.returncode == 1
    for words in (
        "the files of the container made",
        "the volume kept is not in the database",
        f"the blob sha256:{blob.name} is damaged",
    ):
        assert words in found.stdout
    assert "Traceback" not in found.stderr
    assert fsck(used, "--repair").returncode == 0
    client = used.start()
    assert content(client) == "precious\n"
    assert len(client.containers.list(everything=True)) < 20


def test_fsck_leaves_a_data_root_in_use_alone(used: EngineProcess) -> None:
    used.start()
    refused = fsck(used, "--repair")
    assert refused.returncode == 1
    assert "another engine" in refused.stderr
    assert "stop it" in refused.stderr
