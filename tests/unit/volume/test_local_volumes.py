from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.store.database import Database
from wherry.testing.volumes import VolumesContract
from wherry.volume.local import LocalVolumes


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(str(tmp_path / "db"))
    yield database
    database.close()


@pytest.fixture
def volumes(tmp_path: Path, db: Database) -> LocalVolumes:
    return LocalVolumes(str(tmp_path / "volumes"), db)


class TestLocalVolumes(VolumesContract):
    pass


def test_volumes_are_there_after_a_restart(
    volumes: LocalVolumes, tmp_path: Path, db: Database
) -> None:
    volume = volumes.create("data")
    volumes.use("data", "c1")
    (Path(volume.path) / "file").write_text("kept")
    again = LocalVolumes(str(tmp_path / "volumes"), db)
    assert again.list() == (volume,)
    assert again.users("data") == ("c1",)
    assert os.listdir(volume.path) == ["file"]


def test_what_a_crash_left_is_removed(volumes: LocalVolumes, tmp_path: Path, db: Database) -> None:
    volumes.create("data")
    (tmp_path / "volumes" / ".removed-1" / "_data").mkdir(parents=True)
    (tmp_path / "volumes" / "half-made").mkdir()
    LocalVolumes(str(tmp_path / "volumes"), db)
    assert os.listdir(tmp_path / "volumes") == ["data"]


def test_a_failed_copy_leaves_the_volume_empty(
    volumes: LocalVolumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "a").write_text("a")
    path = volumes.create("data").path

    def crash(*arguments: object, **named: object) -> None:
        os._exit(9)

    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr("wherry.volume.local.os.rename", crash)
        volumes.populate("data", os.open(tmp_path / "image", os.O_RDONLY), "/")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert os.listdir(path) == []
    assert volumes.populate("data", os.open(tmp_path / "image", os.O_RDONLY), "/")
    assert os.listdir(path) == ["a"]
