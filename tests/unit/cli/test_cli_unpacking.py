"""What ``cp`` takes from a hostile container."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from wherry.cli.options import CommandError
from wherry.cli.unpacking import unpack
from wherry.errors import WherryError


def archive(*members: tuple[str, bytes, str]) -> Iterator[bytes]:
    """Of names, types of members, and contents or a link's target."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o6777
            if kind == tarfile.REGTYPE:
                member.size = len(text)
            else:
                member.linkname = text
            member.uid = member.gid = os.geteuid()
            member.pax_headers = {"SCHILY.xattr.user.mark": "1"}
            tar.addfile(member, io.BytesIO(text.encode()))
    data = made.getvalue()
    return (data[start : start + 700] for start in range(0, len(data), 700))


def names(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "place"


LINK, HARD, FILE, TREE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize("target", ["..", "/", "../../place/.."])
def test_a_link_is_kept_and_not_followed_out(place: Path, target: str) -> None:
    members = (("d", TREE, ""), ("d/out", LINK, target), ("d/out/secret", FILE, "bad"))
    unpack(archive(*members), str(place), "d", keep_owner=False)
    assert (place.parent / "secret").read_text() == "secret"
    assert (
        not names(place.parent) - {"place", "secret"} - {f"place/{name}" for name in names(place)}
    )
    assert os.readlink(place / "d/out") == target


@pytest.mark.parametrize("name", ["d/../../secret", "../secret", "/../secret", "d/./../../secret"])
def test_no_name_leads_out(place: Path, name: str) -> None:
    unpack_or_refuse(place, ("d", TREE, ""), (name, FILE, "bad"))
    assert (place.parent / "secret").read_text() == "secret"
    assert set(os.listdir(place.parent)) == {"place", "secret"}


@pytest.mark.parametrize("target", ["../secret", "/secret", "d/../../secret"])
def test_no_hard_link_leads_out(place: Path, target: str) -> None:
    unpack_or_refuse(place, ("d", TREE, ""), ("d/hard", HARD, target), ("d/hard", FILE, "bad"))
    assert (place.parent / "secret").read_text() == "secret"
    assert (place.parent / "secret").stat().st_nlink == 1


def unpack_or_refuse(place: Path, *members: tuple[str, bytes, str]) -> None:
    with suppress(WherryError):
        unpack(archive(*members), str(place), "d", keep_owner=False)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(place: Path, kind: bytes) -> None:
    with pytest.raises(CommandError, match="refusing to copy 'd/x': it is a device or a pipe"):
        unpack(archive(("d", TREE, ""), ("d/x", kind, "")), str(place), "d", keep_owner=True)
    assert names(place) == {"d"}


def test_what_means_more_here_is_left_out(place: Path) -> None:
    unpack(archive(("a/f", FILE, "x")), str(place), "b", keep_owner=True)
    assert (place / "b/f").stat().st_mode & 0o7777 == 0o777
    assert os.listxattr(place / "b/f") == []


@pytest.mark.parametrize("top", ["a", ".", "/a"])
def test_contents_alone(place: Path, top: str) -> None:
    members = ((f"{top}/", TREE, ""), (f"{top}/f", FILE, "x"), (f"{top}/g", HARD, f"{top}/f"))
    unpack(archive(*members), str(place), ".", keep_owner=False)
    assert names(place) == {"f", "g"}
    assert (place / "f").stat().st_ino == (place / "g").stat().st_ino


def test_half_an_archive(place: Path) -> None:
    whole = b"".join(archive(("a", FILE, "x" * 2000)))
    with pytest.raises(WherryError):
        unpack(iter([whole[:1500]]), str(place), "a", keep_owner=False)
