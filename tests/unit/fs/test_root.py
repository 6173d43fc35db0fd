from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience

from wherry.errors import InvalidArgument
from wherry.fs.root import Root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return tmp_path / "outside"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.fixture
def root(tree: Path) -> Iterator[Root]:
    with Root.at(str(tree)) as found:
        yield found


def test_absolute_and_relative_names_are_the_same(root: Root, tree: Path) -> None:
    root.makedirs("/etc/deep/er")
    (tree / "etc" / "passwd").write_text("root:x:0:0")
    for name in ("/etc/passwd", "etc/passwd", "etc/../etc/passwd", "/../../etc/passwd"):
        assert root.read(name) == b"root:x:0:0"
    assert root.resolve("/etc/deep/../deep/er") == "/etc/deep/er"
    assert root.resolve("/") == "/"


@pytest.mark.parametrize("target", ["{outside}", "../outside", "/../../../outside"])
def test_links_lead_nowhere_outside(root: Root, tree: Path, outside: Path, target: str) -> None:
    (tree / "evil").symlink_to(target.format(outside=outside))
    assert not root.exists("evil/secret")
    with pytest.raises(FileNotFoundError):
        root.read("evil/secret")
    with pytest.raises(OSError, match="evil"):
        root.open("evil/new", os.O_CREAT | os.O_WRONLY, 0o600)
    with pytest.raises(FileNotFoundError):
        root.makedirs("evil/new")
    assert os.listdir(outside) == ["secret"]


def test_the_tree_may_change_meanwhile(root: Root, tree: Path, outside: Path) -> None:
    (tree / "real").mkdir()
    (tree / "real" / "secret").write_text("inside")
    (tree / "swap").symlink_to("real")
    stop = threading.Event()

    def swap() -> None:
        targets = [str(outside), "../outside", "real"]
        while not stop.is_set():
            for target in targets:
                os.symlink(target, tree / "new")
                os.rename(tree / "new", tree / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    seen: set[bytes] = set()
    deadline = time.monotonic() + patience(10.0)
    tries = 0
    while tries < 2000 or (b"inside" not in seen and time.monotonic() < deadline):
        tries += 1
        try:
            seen.add(root.read("swap/secret"))
        except FileNotFoundError:
            seen.add(b"missing")
    stop.set()
    thread.join()
    assert b"secret" not in seen
    assert b"inside" in seen


def test_modes_and_owners_are_exact(root: Root) -> None:
    before = os.umask(0o077)
    try:
        root.makedirs("a/b", 0o1777, (os.getuid(), os.getgid()))
    finally:
        os.umask(before)
    assert root.stat("a/b").st_mode & 0o7777 == 0o1777


def test_only_regular_files_are_read(root: Root, tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "big").write_bytes(bytes(100))
    for name in ("fifo", "/"):
        with pytest.raises(InvalidArgument, match="not a regular file"):
            root.read(name)
    with pytest.raises(InvalidArgument, match="larger than 99 bytes"):
        root.read("big", limit=99)


def test_links_themselves(root: Root) -> None:
    root.symlink("/nowhere", "link")
    assert root.readlink("link") == "/nowhere"
    assert not root.exists("link")
    root.stat("link", follow=False)
    with pytest.raises(FileExistsError):
        root.symlink("x", "link")
    root.unlink("link")
    assert list(root.walk()) == []
    with pytest.raises(InvalidArgument, match="does not name"):
        root.unlink("/..")


def test_magic_links_are_refused() -> None:
    with Root.at("/proc/self") as root, pytest.raises(OSError, match="exe"):
        root.open("exe")
