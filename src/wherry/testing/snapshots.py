"""What every implementation of :class:`wherry.snapshot.api.Snapshotter` has to do.

Subclass in a test module and give it a fixture ``snapshots``. Needs root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wherry.errors import Conflict, NotFound
from wherry.snapshot.api import Snapshotter


@contextmanager
def mounted(snapshots: Snapshotter, key: str) -> Iterator[Path]:
    """A snapshot's merged tree as a path, for as long as the context lasts."""
    fd = snapshots.open_root(key)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def commit_with(snapshots: Snapshotter, name: str, parent: str | None, **files: str) -> None:
    """Commit a snapshot with these files."""
    snapshots.prepare(f"{name}-active", parent)
    with mounted(snapshots, f"{name}-active") as root:
        for file, content in files.items():
            (root / file).write_text(content)
    snapshots.commit(f"{name}-active", name)


def keys(snapshots: Snapshotter) -> set[str]:
    """The keys of all snapshots."""
    return {info.key for info in snapshots.list()}


class SnapshotterContract:
    """The contract, one promise a test."""

    def test_a_new_snapshot_is_empty(self, snapshots: Snapshotter) -> None:
        mount = snapshots.prepare("a", None)
        assert mount.upper is not None
        assert mount.work is not None
        assert mount == snapshots.mounts("a")
        with mounted(snapshots, "a") as root:
            assert os.listdir(root) == []
        info = snapshots.stat("a")
        assert (info.kind, info.parent) == ("active", None)

    def test_a_child_sees_its_parents_and_changes_none(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None, one="1", two="2")
        commit_with(snapshots, "middle", "base", two="changed")
        snapshots.prepare("top", "middle")
        with mounted(snapshots, "top") as root:
            assert (root / "one").read_text() == "1"
            assert (root / "two").read_text() == "changed"
            (root / "one").unlink()
            (root / "three").write_text("3")
        with mounted(snapshots, "middle") as root:
            assert sorted(os.listdir(root)) == ["one", "two"]
        with mounted(snapshots, "base") as root:
            assert (root / "two").read_text() == "2"
        assert snapshots.stat("top").parent == "middle"

    def test_a_committed_snapshot_is_read_only(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None, one="1")
        commit_with(snapshots, "second", "base", two="2")
        for name in ("base", "second"):
            mount = snapshots.mounts(name)
            assert (mount.upper, mount.work) == (None, None)
            with mounted(snapshots, name) as root, pytest.raises(OSError, match="Read-only"):
                (root / "new").write_text("no")

    def test_changes_are_in_the_directory_of_changes(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None, one="1")
        snapshots.prepare("a", "base")
        with mounted(snapshots, "a") as root:
            (root / "two").write_text("2")
        assert os.listdir(snapshots.changes_dir("a")) == ["two"]
        assert os.listdir(snapshots.changes_dir("base")) == ["one"]

    def test_attributes_of_the_root_are_inherited(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("a", None)
        with mounted(snapshots, "a") as root:
            os.chown(root, 12, 34)
            os.chmod(root, 0o1777)
        snapshots.commit("a", "base")
        snapshots.prepare("b", "base")
        with mounted(snapshots, "b") as root:
            status = os.stat(root)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, 0o1777)

    def test_a_key_can_be_used_once(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("a", None)
        with pytest.raises(Conflict, match="exists"):
            snapshots.prepare("a", None)
        assert keys(snapshots) == {"a"}

    def test_parents_have_to_be_committed(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("a", None)
        for parent in ("a", "nosuch"):
            with pytest.raises(NotFound, match=parent):
                snapshots.prepare("b", parent)
        assert keys(snapshots) == {"a"}

    def test_committing_a_name_again_drops_the_copy(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None, one="1")
        commit_with(snapshots, "base", None, one="1")
        assert keys(snapshots) == {"base"}
        with mounted(snapshots, "base") as root:
            assert (root / "one").read_text() == "1"

    def test_committed_is_committed(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None)
        with pytest.raises(Conflict, match="committed already"):
            snapshots.commit("base", "other")

    def test_a_parent_cannot_be_removed(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None, one="1")
        snapshots.prepare("a", "base")
        with pytest.raises(Conflict, match="in use"):
            snapshots.remove("base")
        with mounted(snapshots, "a") as root:
            assert (root / "one").read_text() == "1"
        snapshots.remove("a")
        snapshots.remove("base")
        assert keys(snapshots) == set()

    def test_what_is_missing_is_not_found(self, snapshots: Snapshotter) -> None:
        for ask in (
            snapshots.mounts,
            snapshots.open_root,
            snapshots.changes_dir,
            snapshots.remove,
            snapshots.stat,
            snapshots.usage,
        ):
            with pytest.raises(NotFound, match="nosuch"):
                ask("nosuch")
        with pytest.raises(NotFound, match="nosuch"):
            snapshots.commit("nosuch", "name")

    def test_a_key_is_free_again_after_removal(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("a", None)
        with mounted(snapshots, "a") as root:
            (root / "old").write_text("old")
        snapshots.remove("a")
        snapshots.prepare("a", None)
        with mounted(snapshots, "a") as root:
            assert os.listdir(root) == []

    def test_usage_counts_own_changes(self, snapshots: Snapshotter) -> None:
        commit_with(snapshots, "base", None, one="x" * 100_000)
        snapshots.prepare("a", "base")
        with mounted(snapshots, "a") as root:
            (root / "two").write_text("y" * 50_000)
            os.link(root / "two", root / "same")
        assert 100_000 <= snapshots.usage("base").size < 150_000
        assert 50_000 <= snapshots.usage("a").size < 100_000
        assert snapshots.usage("a").inodes == 1
        assert snapshots.usage("base") == snapshots.usage("base")
