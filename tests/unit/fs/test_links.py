from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.fs.links import without_links
from wherry.fs.root import Root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_text("file")
    (tmp_path / "c").mkdir()
    for name, target in {
        "absolute": "/a/b",
        "relative": "a/b",
        "c/up": "../a",
        "c/far": "../../../../../a/file",
        "c/chain": "/c/up/../absolute",
        "dangling": "/a/nosuch",
        "loop": "loop",
        "c/root": "/",
    }.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


NAMES = """
    absolute relative c/up c/up/b c/up/file c/far c/chain c/root/a/file c/root/../a absolute/..
    absolute/../file ../../a . / //a//./b/ c/up/ c/up/../c/far
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_finds_the_same(tree: Path, name: str) -> None:
    with Root.at(str(tree)) as root:
        found = without_links(root.fd, name, last=True)
        assert os.path.samestat(root.stat(found, follow=False), root.stat(name))


def test_the_last_link_is_left_alone(tree: Path) -> None:
    with Root.at(str(tree)) as root:
        assert without_links(root.fd, "c/up/b", last=False) == "a/b"
        assert without_links(root.fd, "c/root/relative", last=False) == "relative"
        assert without_links(root.fd, "relative/", last=False) == "a/b/"


def test_what_does_not_exist(tree: Path) -> None:
    with Root.at(str(tree)) as root:
        assert without_links(root.fd, "dangling", last=True) == "a/nosuch"
        assert without_links(root.fd, "c/up/new/er", last=True) == "a/new/er"
        assert without_links(root.fd, "a/file/x", last=True) == "a/file/x"


def test_links_without_an_end(tree: Path) -> None:
    with Root.at(str(tree)) as root, pytest.raises(OSError, match="symbolic links"):
        without_links(root.fd, "loop", last=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make links of others")
def test_links_of_others_in_a_sticky_directory_are_followed(tree: Path) -> None:
    """Which the kernel does not do by itself where fs.protected_symlinks is 1."""
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    (tree / "tmp/way").symlink_to("/a")
    os.lchown(tree / "tmp/way", 1234, 1234)
    with Root.at(str(tree)) as root:
        assert root.read("/tmp/way/file") == b"file"
        os.close(root.open("tmp/way/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        assert (tree / "a/new").exists()
        assert root.readlink("tmp/way") == "/a"
