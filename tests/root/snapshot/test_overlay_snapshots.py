from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machine import host_mounts

from wherry.errors import NotSupported
from wherry.snapshot import mounting
from wherry.snapshot.mounting import check_overlay
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.database import Database
from wherry.testing.snapshots import SnapshotterContract, commit_with, keys, mounted

pytestmark = pytest.mark.root


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(str(tmp_path / "db"))
    yield database
    database.close()


@pytest.fixture
def snapshots(tmp_path: Path, db: Database) -> Iterator[OverlaySnapshotter]:
    snapshotter = OverlaySnapshotter(str(tmp_path / "snapshots"), db)
    yield snapshotter
    snapshotter.close()


class TestOverlaySnapshotter(SnapshotterContract):
    pass


def directories(tmp_path: Path) -> set[str]:
    return set(os.listdir(tmp_path / "snapshots")) - {"0", "trash"}


def test_removed_files_are_gone(snapshots: OverlaySnapshotter, tmp_path: Path) -> None:
    commit_with(snapshots, "base", None, one="1")
    snapshots.prepare("a", "base")
    snapshots.remove("a")
    snapshots.remove("base")
    snapshots.drain()
    assert directories(tmp_path) == set()
    assert os.listdir(tmp_path / "snapshots" / "trash") == []


def test_a_restart_finishes_removals_and_drops_half_made_ones(
    snapshots: OverlaySnapshotter, tmp_path: Path, db: Database
) -> None:
    commit_with(snapshots, "base", None, one="1")
    number = Path(snapshots.changes_dir("base")).parent.name
    (tmp_path / "snapshots" / "77" / "fs").mkdir(parents=True)
    (tmp_path / "snapshots" / "trash" / "doomed" / "fs").mkdir(parents=True)
    again = OverlaySnapshotter(str(tmp_path / "snapshots"), db)
    again.prepare("new", "base")
    again.drain()
    assert os.listdir(tmp_path / "snapshots" / "trash") == []
    assert number in directories(tmp_path)
    assert "77" not in directories(tmp_path)
    again.close()


STEPS = ["os.mkdir", "OverlaySnapshotter._insert", "OverlaySnapshotter._mount"]


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_while_preparing(
    step: str,
    snapshots: OverlaySnapshotter,
    tmp_path: Path,
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(f"wherry.snapshot.overlay.{step}", lambda *a, **k: os._exit(9))
        snapshots.prepare("a", None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    again = OverlaySnapshotter(str(tmp_path / "snapshots"), db)
    again.drain()
    assert len(directories(tmp_path)) == len(keys(again))
    if keys(again):
        again.remove("a")
    again.prepare("a", None)
    with mounted(again, "a") as root:
        (root / "works").write_text("yes")
    again.close()


def test_127_layers_fit(snapshots: OverlaySnapshotter) -> None:
    parent = None
    for number in range(127):
        snapshots.prepare(f"a{number}", parent)
        Path(snapshots.changes_dir(f"a{number}"), f"f{number}").write_text(str(number))
        snapshots.commit(f"a{number}", f"c{number}")
        parent = f"c{number}"
    mount = snapshots.prepare("top", parent)
    assert len(mount.lower) == 127
    with mounted(snapshots, "top") as root:
        assert len(os.listdir(root)) == 127
    options = ":".join(
        os.path.relpath(path, os.path.dirname(mount.lower[-1])) for path in mount.lower
    )
    assert len(options) < 3500


def test_mounting_on_kernels_without_lowerdir_plus(
    snapshots: OverlaySnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(errno.EINVAL, "no lowerdir+")

    monkeypatch.setattr(mounting, "mount_overlay", refuse)
    before = host_mounts(), os.getcwd()
    commit_with(snapshots, "base", None, one="1")
    snapshots.prepare("a", "base")
    with mounted(snapshots, "a") as root:
        (root / "two").write_text("2")
        assert sorted(os.listdir(root)) == ["one", "two"]
    assert (host_mounts(), os.getcwd()) == before


def test_overlay_on_overlay_is_refused_with_a_reason(
    snapshots: OverlaySnapshotter, tmp_path: Path
) -> None:
    check_overlay(str(tmp_path))
    assert "check-" not in " ".join(os.listdir(tmp_path))
    commit_with(snapshots, "base", None, one="1")
    snapshots.prepare("a", "base")
    with mounted(snapshots, "a") as root:
        os.mkdir(root / "data")
        with pytest.raises(NotSupported, match="choose a data root"):
            check_overlay(str(root / "data"))
        assert os.listdir(root / "data") == []


def test_deep_and_hostile_trees_are_removed(snapshots: OverlaySnapshotter, tmp_path: Path) -> None:
    snapshots.prepare("a", None)
    fd = os.open(snapshots.changes_dir("a"), os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d" * 100, 0o000, dir_fd=fd)
        os.symlink("/", ".removed-0", dir_fd=fd)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    subprocess.run(["mkfifo", f"{snapshots.changes_dir('a')}/fifo"], check=True)
    snapshots.remove("a")
    snapshots.drain()
    assert os.listdir(tmp_path / "snapshots" / "trash") == []
