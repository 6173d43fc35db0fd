"""Files into containers and out of them, running or not: cp and export."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.machine import host_mounts
from tests.patience import patience

from wherry.engine.api import PathStat
from wherry.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from wherry.model.container import HostConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


def archive(**files: bytes | str) -> io.BytesIO:
    """A tar: bytes are a file's content, a text is where a link leads; ``__`` is a slash."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.uid, member.gid, member.mode = 1234, 5678, 0o640
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    made.seek(0)
    return made


def fetch(engine: Any, container: str, path: str) -> tuple[PathStat, dict[str, bytes]]:
    """What is told of a path, and the files of its archive by name."""
    told: list[PathStat] = []
    pieces: list[bytes] = []
    engine.engine.files.get(container, path, told.append, pieces.append)
    return told[0], unpacked(b"".join(pieces))


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            found[member.name] = file.read() if file else b""
        return found


def put(engine: Any, container: str, path: str, **files: bytes | str) -> None:
    engine.engine.files.put(
        container, path, archive(**files), keep_types=True, container_user=False
    )


@pytest.fixture(params=["stopped", "running"])
def box(engine: Any, request: pytest.FixtureRequest) -> Any:
    """A container with a volume, a bind and a read-only bind."""
    directory = Path(engine.settings.data_root, "shared")
    directory.mkdir(exist_ok=True)
    (directory / "there").write_text("bound")
    host = HostConfig(
        network_mode="none",
        binds=("cpvol:/data", f"{directory}:/bound", f"{directory}:/fixed:ro"),
    )
    container = engine.create("sleep", "600", host=host)
    if request.param == "running":
        engine.engine.containers.start(container)
    yield container
    engine.engine.containers.remove(container, force=True)
    engine.engine.volumes.remove("cpvol")


def test_what_goes_in_comes_out(engine: Any, box: str) -> None:
    put(engine, box, "/tmp", one=b"1", deep__two=b"22", link="one")
    about, found = fetch(engine, box, "/tmp")
    assert (about.name, stat.S_ISDIR(about.mode), about.link_target) == ("tmp", True, "")
    assert found["tmp/one"] == b"1"
    assert found["tmp/deep/two"] == b"22"
    assert fetch(engine, box, "/tmp/one")[1] == {"one": b"1"}
    assert set(fetch(engine, box, "/tmp/.")[1]) >= {".", "./one", "./deep/two", "./link"}
    link, members = fetch(engine, box, "tmp/link")
    assert (stat.S_ISLNK(link.mode), link.link_target) == (True, "/tmp/one")
    assert members == {"link": b""}
    status = engine.engine.files.stat(box, "/tmp/one")
    assert (status.size, stat.S_IMODE(status.mode)) == (1, 0o640)


def test_volumes_and_binds_are_reached_through_links(engine: Any, box: str) -> None:
    put(engine, box, "/tmp", way="/data")
    put(engine, box, "/tmp/way", inside=b"volume")
    volume = Path(engine.engine.volumes.path("cpvol"))
    assert (volume / "inside").read_bytes() == b"volume"
    assert ((volume / "inside").stat().st_uid, (volume / "inside").stat().st_gid) == (1234, 5678)
    assert fetch(engine, box, "/bound")[1]["bound/there"] == b"bound"
    assert engine.engine.files.stat(box, "/tmp/way/inside").size == 6
    changed = [path for _, path in engine.engine.containers.changes(box)]
    assert not any(path.startswith(("/data", "/bound")) for path in changed)


def test_links_stay_inside_the_container(engine: Any, box: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    put(engine, box, "/tmp", up=f"../../../../../..{outside}", absolute=str(outside))
    with pytest.raises(NotFound, match=r"Could not find the file /tmp/up/\. in container"):
        fetch(engine, box, "/tmp/up/.")
    put(engine, box, "/tmp", absolute__file=b"x")
    assert list(outside.iterdir()) == []
    assert engine.engine.files.stat(box, f"{outside}/file").size == 1


def test_what_is_read_only_is_refused(engine: Any, box: str) -> None:
    with pytest.raises(PermissionDenied, match="mounted volume is marked read-only"):
        put(engine, box, "/fixed", new=b"x")
    assert fetch(engine, box, "/fixed/there")[1] == {"there": b"bound"}


def test_a_mount_is_not_replaced(engine: Any, box: str) -> None:
    with pytest.raises((Conflict, InvalidArgument)):
        put(engine, box, "/", data=b"no directory")
    with pytest.raises(Conflict, match="device or resource busy"):
        engine.engine.files.put(
            box, "/", archive(bound=b"x"), keep_types=False, container_user=False
        )
    assert fetch(engine, box, "/bound/there")[1] == {"there": b"bound"}


def test_bad_paths_have_dockers_words(engine: Any, box: str) -> None:
    files = engine.engine.files
    with pytest.raises(NotFound, match="Could not find the file /no/such in container"):
        files.stat(box, "/no/such")
    with pytest.raises(InvalidArgument, match="extraction point is not a directory"):
        put(engine, box, "/bin/busybox", x=b"")
    with pytest.raises(InvalidArgument, match="is not a directory"):
        files.stat(box, "/bin/busybox/")
    with pytest.raises(InvalidArgument, match="must not be empty"):
        files.stat(box, "")
    put(engine, box, "/tmp", directory__x=b"")
    with pytest.raises(InvalidArgument, match="cannot overwrite"):
        put(engine, box, "/tmp", directory=b"a file")


def test_an_export_has_the_root_without_mounts(engine: Any, box: str) -> None:
    put(engine, box, "/root", mine=b"mine")
    pieces: list[bytes] = []
    engine.engine.files.export(box, pieces.append)
    found = unpacked(b"".join(pieces))
    assert found["root/mine"] == b"mine"
    assert "bin/busybox" in found
    assert "bound/there" not in found
    assert not any(name.startswith("proc/") for name in found)


def test_the_containers_user_may_get_the_files(engine: Any) -> None:
    container = engine.create("true", user="42:43")
    engine.engine.files.put(container, "/tmp", archive(x=b""), keep_types=True, container_user=True)
    with tarfile.open(fileobj=io.BytesIO(_raw(engine, container, "/tmp/x"))) as tar:
        member = tar.getmember("x")
    assert (member.uid, member.gid) == (42, 43)
    engine.engine.containers.remove(container)


def _raw(engine: Any, container: str, path: str) -> bytes:
    pieces: list[bytes] = []
    engine.engine.files.get(container, path, lambda about: None, pieces.append)
    return b"".join(pieces)


def test_a_container_that_swaps_a_link_lets_nothing_out(engine: Any, tmp_path: Path) -> None:
    """The path is resolved inside the root, whatever it is at that moment."""
    secret = tmp_path / "swap"
    secret.mkdir()
    script = f"mkdir /d; while :; do ln -sfn {secret} /way; ln -sfn /d /way; done"
    container = engine.create("sh", "-c", script)
    engine.engine.containers.start(container)
    arrived = 0
    for number in range(60):
        try:
            put(engine, container, "/way", **{f"f{number}": b"x"})
            arrived += 1
        except (NotFound, InvalidArgument):
            continue  # the link was missing, or led nowhere
    engine.engine.containers.remove(container, force=True)
    assert arrived
    assert list(secret.iterdir()) == []


def test_a_container_does_not_start_while_its_files_are_read(engine: Any) -> None:
    """Overlayfs forbids two mounts of one writable layer."""
    container = engine.create("true")
    api = engine.engine.containers
    reading, go_on = threading.Event(), threading.Event()

    def output(piece: bytes) -> None:
        reading.set()
        go_on.wait(patience(30))

    reader = threading.Thread(
        target=lambda: engine.engine.files.get(container, "/bin", lambda about: None, output)
    )
    reader.start()
    assert reading.wait(patience(30))
    starter = threading.Thread(target=lambda: api.start(container))
    exited = api.wait(container, "next-exit")
    starter.start()
    assert api.get(container).state.status == "created"
    go_on.set()
    reader.join()
    starter.join()
    assert exited.result(patience(30)).exit_code == 0
    api.remove(container)


def test_a_shared_bind_shows_nothing_of_the_container_on_the_host(
    engine: Any, tmp_path: Path
) -> None:
    """Of all its mounts only the bind itself is shared."""
    host = HostConfig(network_mode="none", binds=(f"{tmp_path}:/shared:rshared",))
    container = engine.create("sleep", "600", host=host)
    before = host_mounts()
    engine.engine.containers.start(container)
    put(engine, container, "/shared", arrived=b"x")
    assert (tmp_path / "arrived").read_bytes() == b"x"
    assert host_mounts() == before
    engine.engine.containers.remove(container, force=True)


def _open_in(directory: str) -> int:
    """How many descriptors of this process lead into a directory, or to nothing that has a name
    (a detached mount's root is "/")."""
    targets = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum(target == "/" or target.startswith(directory) for target in targets)


def test_no_mount_and_no_descriptor_stays(engine: Any, box: str) -> None:
    # Other threads of the engine have descriptors that come and go (what was removed is deleted in
    # the background). So only what points into the data root is counted, and what is left over
    # may take its time; 20 rounds would leave 20.
    before = _open_in(engine.settings.data_root)
    everything = len(os.listdir("/proc/self/fd"))
    mounts = host_mounts()
    for _ in range(20):
        fetch(engine, box, "/etc")
        with pytest.raises(NotFound):
            fetch(engine, box, "/nosuch")
    assert len(os.listdir("/proc/self/fd")) < everything + 20
    deadline = time.monotonic() + patience(20)
    while _open_in(engine.settings.data_root) > before:
        assert time.monotonic() < deadline
    assert host_mounts() == mounts
