from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from wherry.client.context import BuildContext, single_file_archive
from wherry.errors import InvalidArgument, NotFound


def _members(context: BuildContext) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.archive()))) as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "sub/keep").mkdir(parents=True)
    (root / "Dockerfile").write_text("FROM scratch\n")
    (root / "a.txt").write_text("a" * 1000)
    (root / "sub/b.txt").write_text("b")
    (root / "sub/keep/k.txt").write_text("k")
    return root


def test_everything_is_packed_in_order(tree: Path) -> None:
    names = ["Dockerfile", "a.txt", "sub", "sub/b.txt", "sub/keep", "sub/keep/k.txt"]
    assert list(_members(BuildContext(str(tree)))) == names


def test_the_same_tree_gives_the_same_bytes(tree: Path) -> None:
    first, second = (b"".join(BuildContext(str(tree)).archive()) for _ in range(2))
    assert first == second


def test_ignored_files_stay_at_home(tree: Path) -> None:
    (tree / ".dockerignore").write_text("Dockerfile\n.dockerignore\nsub\n!sub/keep\n")
    kept = [".dockerignore", "Dockerfile", "a.txt", "sub", "sub/keep", "sub/keep/k.txt"]
    assert sorted(_members(BuildContext(str(tree)))) == sorted(kept)


def test_the_dockerfiles_own_ignore_file_wins(tree: Path) -> None:
    (tree / ".dockerignore").write_text("*")
    (tree / "Dockerfile.dockerignore").write_text("sub")
    assert {"a.txt"} == {n for n in _members(BuildContext(str(tree))) if "ocker" not in n}


def test_an_ignored_dockerfile_in_an_ignored_directory(tree: Path) -> None:
    (tree / "sub/Dockerfile").write_text("FROM scratch\n")
    (tree / ".dockerignore").write_text("*")
    context = BuildContext(str(tree), "sub/Dockerfile")
    assert context.dockerfile_name == "sub/Dockerfile"
    assert list(_members(context)) == [".dockerignore", "sub", "sub/Dockerfile"]


def test_a_dockerfile_from_elsewhere(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("FROM elsewhere\n")
    context = BuildContext(str(tree), str(tmp_path / "other"))
    assert context.dockerfile_name.startswith(".dockerfile.")
    assert _members(context)[context.dockerfile_name].size == len("FROM elsewhere\n")


def test_kinds_of_files(tree: Path) -> None:
    (tree / "leads-out").symlink_to("/etc/passwd")
    (tree / "dangling").symlink_to("nothing")
    (tree / "twin").hardlink_to(tree / "a.txt")
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(tree)  # the path of a socket is short
        listener.bind("socket")
        os.chdir(before)
        found = _members(BuildContext(str(tree)))
    assert found["leads-out"].issym()
    assert found["leads-out"].linkname == "/etc/passwd"
    assert found["dangling"].linkname == "nothing"
    assert found["twin"].islnk()
    assert found["twin"].linkname == "a.txt"
    assert found["fifo"].isfifo()
    assert "socket" not in found


def test_modes_and_owners(tree: Path) -> None:
    (tree / "a.txt").chmod(0o4755)
    found = _members(BuildContext(str(tree)))["a.txt"]
    assert (found.mode, found.uid, found.gid, found.uname) == (0o4755, 0, 0, "")


def test_long_and_strange_names(tree: Path) -> None:
    strange = os.fsdecode(b"sub/" + b"n" * 120 + b"\xff")
    (tree / strange).write_text("x")
    assert strange in _members(BuildContext(str(tree)))


def test_a_file_that_shrinks_is_an_error(tree: Path) -> None:
    (tree / "big").write_bytes(b"x" * 600_000)
    pieces = BuildContext(str(tree)).archive()
    while not next(pieces).startswith(b"x" * 1000):
        pass
    os.truncate(tree / "big", 100)
    with pytest.raises(InvalidArgument, match="shorter"):
        list(pieces)


@pytest.mark.parametrize("name", ["missing", "context/a.txt"])
def test_what_is_no_directory(tree: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match="unable to prepare context"):
        BuildContext(str(tmp_path / name))


def test_no_dockerfile(tree: Path) -> None:
    with pytest.raises(NotFound, match="no Dockerfile"):
        BuildContext(str(tree), "Other")


def test_a_dockerfile_alone() -> None:
    data = b"".join(single_file_archive("Dockerfile", b"FROM x\n"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        held = archive.extractfile("Dockerfile")
        assert held
        assert held.read() == b"FROM x\n"
