"""Volumes as archives, clones and snapshots: all that belongs to their files is kept."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wherry.engine.volume_api import SNAPSHOT_OF
from wherry.errors import Conflict, DataCorrupt, NotFound
from wherry.model.container import HostConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

SPARSE = 1 << 33  # bytes


@pytest.fixture
def data(engine: Any) -> Iterator[Path]:
    """A volume with one of everything."""
    path = Path(engine.engine.volumes.create("data").path)
    (path / "sub").mkdir(mode=0o750)
    (path / "sub/file").write_text("content")
    os.chown(path / "sub/file", 12, 34)
    os.chmod(path / "sub/file", 0o4755)
    os.setxattr(path / "sub/file", "user.colour", b"red")
    os.link(path / "sub/file", path / "hard")
    (path / "link").symlink_to("/etc/passwd")
    os.mkfifo(path / "fifo", 0o622)
    with (path / "sparse").open("wb") as file:
        file.truncate(SPARSE)
        file.seek(SPARSE // 2)
        file.write(b"island")
    os.chown(path, 56, 78)
    os.chmod(path, 0o1771)
    os.utime(path / "sub/file", (1000, 1000))
    os.utime(path / "sub", (2000, 2000))
    yield path
    for volume in engine.engine.volumes.list():
        engine.engine.volumes.remove(volume.name)


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """All that a copy has to keep, but for times of less than a second."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        what: object = os.readlink(path) if path.is_symlink() else None
        times = None if path in (root, root / "sparse") else int(status.st_mtime)
        found[str(path.relative_to(root))] = (
            stat.filemode(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, what,
            times, None if path.is_dir() else status.st_size,
            () if path.is_symlink() else tuple(os.listxattr(path)),
        )  # fmt: skip
    return found


def check_sparse(path: Path) -> None:
    assert path.stat().st_blocks * 512 < 1 << 20
    with path.open("rb") as file:
        file.seek(SPARSE // 2)
        assert file.read(7) == b"island\0"


def exported(engine: Any, name: str, **options: Any) -> io.BytesIO:
    archive = io.BytesIO()
    engine.engine.volume_backups.export(name, archive.write, **options)
    archive.seek(0)
    return archive


def test_an_archive_keeps_all(engine: Any, data: Path) -> None:
    archive = exported(engine, "data")
    assert archive.getbuffer().nbytes < 1 << 20
    made = engine.engine.volume_backups.import_volume("copy", archive)
    assert described(Path(made.path)) == described(data)
    assert (Path(made.path) / "sub/file").read_text() == "content"
    check_sparse(Path(made.path) / "sparse")


def test_other_programs_read_the_archive(engine: Any, data: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=exported(engine, "data")) as tar:
        (data / "sparse").unlink()
        members = {member.name: member for member in tar}
        assert members["sparse"].size == SPARSE
        tar.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)  # since 3.11.4
        tar.extract("sparse", tmp_path)
    check_sparse(tmp_path / "sparse")


def test_a_clone_keeps_all(engine: Any, data: Path) -> None:
    made = engine.engine.volume_backups.clone("data", "copy", {"a": "b"})
    assert (made.name, made.labels, made.options) == ("copy", {"a": "b"}, {})
    assert described(Path(made.path)) == described(data)
    check_sparse(Path(made.path) / "sparse")
    with open(Path(made.path) / "hard", "r+") as file:  # O_CREAT would fail: fs.protected_regular
        file.write("other!!")
    assert (data / "hard").read_text() == "content"
    with pytest.raises(Conflict, match="exists already"):
        engine.engine.volume_backups.clone("data", "copy")
    with pytest.raises(NotFound, match="no such volume"):
        engine.engine.volume_backups.clone("nosuch", "new")


def test_snapshots_are_volumes(engine: Any, data: Path) -> None:
    backups = engine.engine.volume_backups
    first = backups.snapshot("data")
    second = backups.snapshot("data")
    named = backups.snapshot("data", "before-upgrade")
    assert first.name.startswith("data-2")
    assert first.name != second.name
    assert named.labels == {SNAPSHOT_OF: "data"}
    assert backups.snapshots("data") == (first, second, named)
    (data / "hard").unlink()
    assert engine.run(
        "cat", "/v/hard", host=HostConfig(network_mode="none", binds=("before-upgrade:/v:ro",))
    ).stdout == b"content"  # fmt: skip


def test_an_import_is_all_or_nothing(engine: Any, data: Path) -> None:
    volumes, backups = engine.engine.volumes, engine.engine.volume_backups
    whole = exported(engine, "data").read()
    cut = whole[: whole.index(b"island") - 512]
    with pytest.raises(DataCorrupt):
        backups.import_volume("new", io.BytesIO(cut))
    with pytest.raises(NotFound):
        volumes.get("new")
    with pytest.raises(DataCorrupt, match="not one byte was sent"):
        backups.import_volume("new", io.BytesIO())
    with pytest.raises(NotFound):
        volumes.get("new")
    empty = volumes.create("empty")
    with pytest.raises(DataCorrupt):
        backups.import_volume("empty", io.BytesIO(cut))
    assert os.listdir(empty.path) == []
    backups.import_volume("empty", io.BytesIO(whole))
    with pytest.raises(Conflict, match="not empty"):
        backups.import_volume("empty", io.BytesIO(whole))


def test_a_hostile_archive_stays_inside(engine: Any, data: Path, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("out/file"))
    archive.seek(0)
    made = engine.engine.volume_backups.import_volume("evil", archive)
    assert os.listdir(tmp_path) == []
    assert os.path.lexists(f"{made.path}{tmp_path}/file")


def test_its_users_are_paused_meanwhile(engine: Any, data: Path) -> None:
    api = engine.engine
    host = HostConfig(network_mode="none", binds=("data:/v",))
    runs, waits = (engine.create("sleep", "600", host=host) for _ in range(2))
    other = engine.create("sleep", "600")
    for container in (runs, waits, other):
        api.containers.start(container)
    api.containers.pause(waits)
    seen: list[dict[str, str]] = []
    first = threading.Event()

    def look(piece: bytes) -> None:
        if not first.is_set():
            first.set()
            seen.append({c: api.containers.get(c).state.status for c in (runs, waits, other)})

    api.volume_backups.export("data", look, pause=True)
    assert seen == [{runs: "paused", waits: "paused", other: "running"}]
    after = [api.containers.get(c).state.status for c in (runs, waits, other)]
    assert after == ["running", "paused", "running"]
    for container in (runs, waits, other):
        api.containers.remove(container, force=True)
