"""Mounting, in a mount namespace that ends with its process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.sys import caps, files, mount, namespaces, process
from wherry.sys.overlay import mount_overlay, mount_overlay_at

pytestmark = pytest.mark.root


def apart(work: Callable[[], None]) -> None:
    """Do ``work`` in a child with a mount namespace of its own; its failure is the test's."""
    reading, writing = os.pipe()
    pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWUTS)
    if pid == 0:
        try:
            mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
            work()
            os.write(writing, b"done")
        except BaseException as error:  # noqa: BLE001 - told to the test
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as told:
        words = told.read()
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    assert words == b"done"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("one", "two", "upper", "work", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/file").write_text("one")
    (tmp_path / "two/file").write_text("two")
    (tmp_path / "two/other").write_text("other")
    return tmp_path


def at(tree: Path, name: str) -> str:
    return str(tree / name)


def needs_layers_one_by_one() -> None:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if release < (6, 5):
        pytest.skip("before Linux 6.5 fsconfig takes no lowerdir+")


def test_an_overlay_that_is_attached_nowhere(tree: Path) -> None:
    needs_layers_one_by_one()

    def work() -> None:
        lower = [at(tree, "one"), at(tree, "two")]
        fd = mount_overlay(lower, at(tree, "upper"), at(tree, "work"))
        assert files.filesystem_type(fd) == files.OVERLAYFS_SUPER_MAGIC
        found = os.open("file", os.O_RDONLY, dir_fd=fd)
        assert os.read(found, 10) == b"one"
        assert os.listdir(tree / "here") == []
        target = os.open(tree / "here", os.O_PATH)
        mount.attach(fd, target)
        assert sorted(os.listdir(tree / "here")) == ["file", "other"]
        (tree / "here/new").touch()

    apart(work)
    assert os.listdir(tree / "upper") == ["new"]
    assert os.listdir(tree / "here") == []


def test_the_older_way_to_mount_an_overlay(tree: Path) -> None:
    def work() -> None:
        before = os.getcwd()
        mount_overlay_at(at(tree, "here"), [at(tree, "one"), at(tree, "two")])
        assert (tree / "here/file").read_text() == "one"
        assert os.getcwd() == before

    apart(work)


def test_the_older_way_has_its_limit(tree: Path) -> None:
    layers = [at(tree, "one")] * 2000
    with pytest.raises(OSError, match="too many layers"):
        mount_overlay_at(at(tree, "here"), layers)


def test_names_of_layers_that_look_like_options(tree: Path) -> None:
    odd = tree / "a,b:c\\d"
    odd.mkdir()
    (odd / "file").write_text("odd")

    def work() -> None:
        mount_overlay_at(at(tree, "here"), [str(odd), at(tree, "two")])
        assert (tree / "here/file").read_text() == "odd"

    def work_one_by_one() -> None:
        fd = mount_overlay([str(odd), at(tree, "two")])
        assert sorted(os.listdir(f"/proc/self/fd/{fd}")) == ["file", "other"]

    apart(work)
    needs_layers_one_by_one()
    apart(work_one_by_one)


def test_a_read_only_clone(tree: Path) -> None:
    def work() -> None:
        fd = mount.open_tree(mount.AT_FDCWD, at(tree, "one"), mount.OPEN_TREE_CLONE)
        mount.mount_setattr(fd, "", mount.AT_EMPTY_PATH, attr_set=mount.MOUNT_ATTR_RDONLY)
        with pytest.raises(OSError, match="Read-only"):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)

    apart(work)


def test_a_new_root(tree: Path) -> None:
    def work() -> None:
        mount.mount(at(tree, "one"), at(tree, "here"), "", mount.MS_BIND)
        os.chdir(tree / "here")
        mount.pivot_root(".", ".")
        mount.umount2(".", mount.MNT_DETACH)
        assert os.listdir("/") == ["file"]

    apart(work)


def test_names_of_the_host(tree: Path) -> None:
    def work() -> None:
        namespaces.sethostname("other")
        namespaces.setdomainname("domain")
        assert os.uname().nodename == "other"

    before = os.uname().nodename
    apart(work)
    assert os.uname().nodename == before


def test_capabilities_are_dropped_and_kept(tree: Path) -> None:
    def work() -> None:
        chown = caps.mask_of(["CAP_CHOWN"])
        caps.drop_bounding(chown)
        assert process.prctl(process.PR_CAPBSET_READ, caps.NUMBERS["CAP_CHOWN"]) == 1
        assert process.prctl(process.PR_CAPBSET_READ, caps.NUMBERS["CAP_SYS_ADMIN"]) == 0
        caps.capset(chown, chown, chown)
        assert caps.capget() == (chown, chown, chown)
        caps.set_ambient(chown)

    apart(work)
