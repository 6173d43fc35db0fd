from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.engine.spec import ResolvedUser, resolve_user
from wherry.errors import InvalidArgument

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
broken line
web:x:33:34:web:/srv/web:/bin/false
:::::
negative:x:-1:-1::/:
huge:x:99999999999:1::/:
nohome:x:50:51
100:x:7:7:a name of digits:/seven:
"""
GROUP = """\
root:x:0:
web:x:34:
disk:x:6:web,other
tape:x:26:other
broken
video:x:44:web
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, (0,), "/root")),
        ("root", (0, 0, (0,), "/root")),
        ("web", (33, 34, (34, 6, 44), "/srv/web")),
        ("33", (33, 34, (34, 6, 44), "/srv/web")),
        ("web:tape", (33, 26, (26,), "/srv/web")),
        ("web:1000", (33, 1000, (1000,), "/srv/web")),
        ("web:", (33, 34, (34, 6, 44), "/srv/web")),
        ("1000", (1000, 0, (0,), "/")),
        ("1000:1001", (1000, 1001, (1001,), "/")),
        ("1000:disk", (1000, 6, (6,), "/")),
        (":disk", (0, 6, (6,), "/root")),
        ("nohome", (50, 51, (51,), "/")),
        ("100", (100, 0, (0,), "/")),
    ],
)
def test_users(tree: int, text: str, expected: tuple[int, int, tuple[int, ...], str]) -> None:
    user = resolve_user(tree, text)
    assert (user.uid, user.gid, user.additional_gids, user.home) == expected


def test_further_groups(tree: int) -> None:
    user = resolve_user(tree, "web", ("tape", "999", "disk"))
    assert user.additional_gids == (34, 6, 44, 26, 999)


@pytest.mark.parametrize(
    ("text", "groups", "message"),
    [
        ("nobody", (), "unable to find user nobody: no matching entries in passwd file"),
        ("negative", (), "unable to find user negative"),
        ("web:nogroup", (), "unable to find group nogroup: no matching entries in group file"),
        ("web", ("nogroup",), "unable to find group nogroup"),
        ("2147483648", (), "uids and gids must be in range 0-2147483647"),
        ("-1", (), "uids and gids must be in range"),
        ("0:99999999999", (), "uids and gids must be in range"),
    ],
)
def test_unknown_ones(tree: int, text: str, groups: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        resolve_user(tree, text, groups)


def test_a_tree_without_files(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert resolve_user(fd, "") == ResolvedUser()
        assert resolve_user(fd, "5:6").additional_gids == (6,)
        with pytest.raises(InvalidArgument, match="unable to find user web"):
            resolve_user(fd, "web")
    finally:
        os.close(fd)


def test_links_stay_in_the_tree(tree: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/etc/real")
    (tmp_path / "etc/real").write_text("inside:x:70:71::/in:\n")
    assert resolve_user(tree, "inside").uid == 70


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_file_is_refused_without_waiting(tree: int, tmp_path: Path, kind: str) -> None:
    (tmp_path / "etc/passwd").unlink()
    if kind == "fifo":
        os.mkfifo(tmp_path / "etc/passwd")
    else:
        (tmp_path / "etc/passwd").mkdir()
    with pytest.raises(InvalidArgument, match="/etc/passwd"):
        resolve_user(tree, "web")


def test_a_file_without_end_is_refused(tree: int, tmp_path: Path) -> None:
    with open(tmp_path / "etc/passwd", "wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(InvalidArgument, match="/etc/passwd"):
        resolve_user(tree, "web")


def test_no_descriptor_is_left_open(tree: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    resolve_user(tree, "web")
    with pytest.raises(InvalidArgument):
        resolve_user(tree, "nobody")
    assert len(os.listdir("/proc/self/fd")) == before
