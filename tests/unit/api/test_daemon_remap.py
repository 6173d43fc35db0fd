"""``--userns-remap``, read with files of subordinate ids of the test's own."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from wherry.daemon.remap import read_user_map
from wherry.errors import InvalidArgument
from wherry.model.idmap import IdRange
from wherry.model.users import NOBODY, UserMap

USER = pwd.getpwuid(os.getuid()).pw_name


def written(directory: Path, uids: str, gids: str) -> Path:
    (directory / "subuid").write_text(uids)
    (directory / "subgid").write_text(gids)
    return directory


def test_nothing_is_no_map() -> None:
    assert read_user_map("") is None


@pytest.mark.parametrize("text", [USER, f"{USER}:root", str(os.getuid()), f"{os.getuid()}:0"])
def test_a_users_lines_follow_each_other(tmp_path: Path, text: str) -> None:
    uids = f"other:1:2\n{USER}:100000:1000\n\n{os.getuid()}:500000:65536\n"
    found = read_user_map(text, written(tmp_path, uids, f"{USER}:7:9\n0:20:3\n"))
    assert found is not None
    assert found.uids == (IdRange(0, 100000, 1000), IdRange(1000, 500000, 65536))
    assert found.gids == (IdRange(0, 7, 9), IdRange(9, 20, 3))
    assert found.root == (100000, 7)


@pytest.mark.parametrize(
    ("uids", "text"),
    [
        ("", "no subordinate ids"),
        ("someone:1:1\n", "no subordinate ids"),
        (f"{USER}:0:65536\n", "cannot be given"),
        (f"{USER}:1:0\n", "cannot be given"),
        (f"{USER}:4294967290:65536\n", "cannot be given"),
        (f"{USER}:one:two\n", "malformed line"),
        (f"{USER}\n", "malformed line"),
        (f"{USER}:1:4000000000\n{USER}:2:4000000000\n", "more subordinate ids than"),
        ("".join(f"{USER}:{n}:1\n" for n in range(1, 400)), "more subordinate ids than"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, uids: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        read_user_map(USER, written(tmp_path, uids, f"{USER}:100000:65536\n"))


@pytest.mark.parametrize("text", ["nobody-has-this-name", f"{USER}:nobody-has-this-name"])
def test_names_that_there_are_not(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match="this host does not have"):
        read_user_map(text, written(tmp_path, f"{USER}:1:2\n", f"{USER}:1:2\n"))


def test_no_files_are_no_ids(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="add a line such as"):
        read_user_map(USER, tmp_path)


def test_owners_there_and_back() -> None:
    users = UserMap(
        uids=(IdRange(0, 1000, 10), IdRange(10, 5000, 5)), gids=(IdRange(0, 2000, 100),)
    )
    assert users.on_host(12, 5) == (5002, 2005)
    assert users.in_container(5002, 2005) == (12, 5)
    assert users.in_container(0, 1999) == (NOBODY, NOBODY)
    with pytest.raises(InvalidArgument, match="15:0"):
        users.on_host(15, 0)
