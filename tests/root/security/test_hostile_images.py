"""Images, archives and running containers that are made to hurt what reads them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine
from tests.root.security.test_cve_copying import put, tar_of

from wherry.engine.api import ImportOptions
from wherry.engine.records import ExecOptions
from wherry.errors import InvalidArgument, WherryError
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", device: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    info.devmajor, info.devminor = os.major(device), os.minor(device)
    return info


ZEROS = os.makedev(1, 5)
PASSWD = {
    "a fifo": member("etc/passwd", tarfile.FIFOTYPE),
    "endless": member("etc/passwd", tarfile.CHRTYPE, device=ZEROS),
    "a directory": member("etc/passwd", tarfile.DIRTYPE),
    "the host's": member("etc/passwd", tarfile.SYMTYPE, "../../proc/1/root/etc/passwd"),
    "the engine's": member("etc/passwd", tarfile.SYMTYPE, "/proc/self/environ"),
    "itself": member("etc/passwd", tarfile.SYMTYPE, "passwd"),
}


@pytest.fixture
def program(engine: TestEngine) -> bytes:
    container = engine.create("true")
    pieces: list[bytes] = []
    engine.engine.files.get(container, "/bin/busybox", lambda about: None, pieces.append)
    engine.engine.containers.remove(container)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        file = tar.extractfile("busybox")
        assert file is not None
        return file.read()


class Image:
    """Imports images of a few members beside one program."""

    def __init__(self, engine: TestEngine, program: bytes) -> None:
        self._engine = engine
        self._program = program

    def create(self, *members: tarfile.TarInfo, host: HostConfig, **config: str) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            busybox = member("bin/busybox")
            busybox.size = len(self._program)
            tar.addfile(busybox, io.BytesIO(self._program))
            for one in members:
                tar.addfile(one)
        archive.seek(0)
        commits = self._engine.engine.commits
        commits.import_image(archive, ImportOptions(repository="hostile"), lambda line: None)
        wanted = ContainerConfig(image="hostile", cmd=("/bin/busybox", "sleep", "600"), **config)
        created = self._engine.engine.containers.create("", wanted, host, NetworkingConfig())
        return created.id


@pytest.fixture
def image(engine: TestEngine, program: bytes) -> Iterator[Image]:
    yield Image(engine, program)
    engine.engine.images.remove("hostile", force=True)


@pytest.mark.parametrize("passwd", PASSWD.values(), ids=PASSWD)
def test_users_are_looked_up_in_a_file_of_the_image_or_nowhere(
    engine: TestEngine, image: Image, passwd: tarfile.TarInfo
) -> None:
    """``daemon`` is a user of the host."""
    container = image.create(passwd, host=HostConfig(network_mode="none"), user="daemon")
    try:
        with pytest.raises(InvalidArgument, match=r"not a regular file|unable to find user daemon"):
            engine.engine.containers.start(container)
    finally:
        engine.engine.containers.remove(container, force=True)


@pytest.mark.parametrize(
    "change", ["mkfifo $f", "mknod $f c 1 5", "ln -s /proc/1/environ $f", "ln -s /dev/pts/ptmx $f"]
)
def test_an_exec_reads_no_trap(engine: TestEngine, change: str) -> None:
    container = engine.create("sh", "-c", f"f=/etc/passwd; rm $f; {change}; echo; exec sleep 600")
    containers = engine.engine.containers
    stream = containers.attach(container, stdin=False, stdout=True, stderr=False)
    with stream:
        containers.start(container)
        stream.recv(100)  # the trap is set
    asked = ExecOptions(cmd=("id",), user="daemon", attach_stdout=True)
    try:
        with pytest.raises(WherryError):
            engine.engine.execs.start(engine.engine.execs.create(container, asked), detach=False)
    finally:
        containers.remove(container, force=True)


def test_a_volume_is_filled_from_inside_the_image_only(
    engine: TestEngine, image: Image, tmp_path: Path
) -> None:
    """Its place in the image is a link to the host, or holds what is no file at all."""
    (tmp_path / "secret").touch()
    members = (
        member("link", tarfile.SYMTYPE, str(tmp_path)),
        member("odd", tarfile.DIRTYPE),
        member("odd/fifo", tarfile.FIFOTYPE),
        member("odd/zeros", tarfile.CHRTYPE, device=ZEROS),
        member("odd/way", tarfile.SYMTYPE, str(tmp_path / "secret")),
    )
    host = HostConfig(network_mode="none", binds=("one:/link", "two:/odd"))
    container = image.create(*members, host=host)
    engine.engine.containers.start(container)
    one, two = (Path(engine.engine.volumes.path(name)) for name in ("one", "two"))
    found = (os.listdir(one), sorted(os.listdir(two)), os.listdir(tmp_path))
    is_link = (two / "way").is_symlink()
    engine.engine.containers.remove(container, force=True)
    for name in ("one", "two"):
        engine.engine.volumes.remove(name)
    assert found == ([], ["fifo", "way", "zeros"], ["secret"])
    assert is_link


def test_a_sparse_file_costs_nothing_to_look_at(engine: TestEngine) -> None:
    """20 GB that take no room: neither sizes nor changes read it."""
    done = "dd if=/dev/zero of=/sparse bs=1 count=1 seek=20G 2>/dev/null; exec sleep 600"
    container = engine.create("sh", "-c", f"{done.replace('exec', 'echo; exec')}")
    containers = engine.engine.containers
    with containers.attach(container, stdin=False, stdout=True, stderr=False) as stream:
        containers.start(container)
        stream.recv(100)
    size = containers.size(container).writable
    changes = containers.changes(container)
    containers.remove(container, force=True)
    assert size < 1 << 20
    assert (1, "/sparse") in changes


@pytest.mark.parametrize("depth", [1500, 20_000])
def test_an_archive_that_is_too_deep_leaves_nothing(engine: TestEngine, depth: int) -> None:
    container = engine.create("true")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("d/" * depth + "f"))
    archive.seek(0)
    with pytest.raises(WherryError):
        put(engine, container, "/tmp", archive)
    put(engine, container, "/tmp", tar_of(("well", b"1", 0o644)))
    engine.engine.containers.remove(container)


@pytest.mark.parametrize(
    "config",
    [
        {"user": "-1"},
        {"user": "99999999999"},
        {"working_dir": "relative"},
        {"working_dir": "/" + "w" * 5000},
        {"stop_signal": "SIGFOO"},
        {"volumes": {"/a\0b": {}}},
        {"volumes": {"/": {}}},
        {"env": ("A\0=b",)},
        {"hostname": "x\n127.0.0.1 evil"},
    ],
    ids=str,
)
def test_absurd_values_end_in_a_sentence(engine: TestEngine, config: dict[str, object]) -> None:
    with pytest.raises(WherryError):
        engine.run("true", **config)
