"""Atomic files, locks, walking, copying and removing."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from wherry.fs.atomic import write_atomic
from wherry.fs.copy import copy_tree
from wherry.fs.remove import remove_tree
from wherry.fs.walk import walk


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as before:
        write_atomic(str(path), b"new", 0o640, sync=True)
        assert before.read() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fd = os.open(tmp_path, os.O_RDONLY)
    write_atomic("file", memoryview(b"newer"), dir_fd=fd)
    os.close(fd)
    assert path.read_text() == "newer"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(str(tmp_path / "file"), b"new")
    assert os.listdir(tmp_path) == ["file"]


def sample(tree: Path) -> None:
    (tree / "b" / "deep").mkdir(parents=True)
    (tree / "a").write_text("a" * 100_000)
    (tree / "b" / "file").write_text("b")
    os.link(tree / "a", tree / "b" / "deep" / "hard")
    (tree / "c").symlink_to("/etc/passwd")
    os.mkfifo(tree / "fifo", 0o640)
    os.setxattr(tree / "a", "user.note", b"text")
    os.chmod(tree / "b", 0o2750)
    for path in (tree / "b" / "deep", tree / "b", tree / "a"):
        os.utime(path, ns=(7_000_000_001, 8_000_000_002))


def test_a_walk_is_in_order_and_knows_paths(tmp_path: Path) -> None:
    sample(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    paths = [node.path for node in walk(fd)]
    skipped = [node.path for node in walk(fd, skip=lambda node: node.path in ("b/deep", "a"))]
    below = [node.path for node in walk(fd, "b")]
    os.close(fd)
    assert paths == ["a", "c", "fifo", "b", "b/file", "b/deep", "b/deep/hard"]
    assert skipped == ["c", "fifo", "b", "b/file"]
    assert below == ["b/file", "b/deep", "b/deep/hard"]


def test_a_copy_has_everything(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(mode=0o711)
    target.mkdir()
    sample(source)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(source / "socket"))
    fds = [os.open(path, os.O_RDONLY) for path in (source, target)]
    copy_tree(*fds)
    for fd in fds:
        os.close(fd)
    listener.close()
    assert (target / "a").read_text() == "a" * 100_000
    assert os.getxattr(target / "a", "user.note") == b"text"
    assert (target / "b" / "deep" / "hard").stat().st_ino == (target / "a").stat().st_ino
    assert os.readlink(target / "c") == "/etc/passwd"
    assert (target / "fifo").stat().st_mode == stat.S_IFIFO | 0o640
    assert not (target / "socket").exists()
    for name in ("a", "b", "b/deep", "."):
        ours, theirs = (target / name).stat(), (source / name).stat()
        assert (ours.st_mode, ours.st_mtime_ns) == (theirs.st_mode, theirs.st_mtime_ns)


def test_removal_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    doomed = tmp_path / "doomed"
    sample_target = doomed / "x" / "y" / "z"
    sample_target.mkdir(parents=True)
    (sample_target / "link").symlink_to(tmp_path / "kept")
    (doomed / ".removed-0").write_text("in the way")
    (doomed / "x" / "y" / "file").write_text("")
    remove_tree(str(doomed))
    remove_tree(str(doomed))
    (tmp_path / "link").symlink_to("kept")
    remove_tree("link", dir_fd=os.open(tmp_path, os.O_RDONLY))
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["file"]
