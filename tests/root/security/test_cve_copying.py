"""Attacks on what copies files out of containers and into them, and on what starts them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.root.engine.conftest import TestEngine, read_all, split_frames
from tests.root.security.test_cve_trees import exchanging

from wherry.engine.records import ExecOptions
from wherry.errors import Conflict, InvalidArgument, NotFound, WherryError
from wherry.model.container import HostConfig, MountRequest
from wherry.runtime.messages import MAX_PACKET

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

ROUNDS = 300
DESCRIPTORS = range(24)
LIBRARY = "/lib/libnss_files.so.2"


def tar_of(*members: tuple[str, bytes | str, int]) -> io.BytesIO:
    """Names (a directory's ends in a slash), contents (a text is where a link leads), modes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content, mode in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = mode
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            elif name.endswith("/"):
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    made.seek(0)
    return made


@pytest.fixture
def running(engine: TestEngine) -> Iterator[str]:
    """A container that sleeps, for others to change its tree as it could itself."""
    container = engine.create("sleep", "600")
    engine.engine.containers.start(container)
    yield container
    engine.engine.containers.remove(container, force=True)


def root_of(engine: TestEngine, container: str) -> Path:
    return Path(f"/proc/{engine.engine.containers.get(container).state.pid}/root")


def put(engine: TestEngine, container: str, path: str, archive: Any, **options: bool) -> None:
    chosen = {"keep_types": False, "container_user": False} | options
    engine.engine.files.put(container, path, archive, **chosen)


def inside(engine: TestEngine, container: str, *cmd: str, **options: Any) -> bytes:
    """What a command prints in a container."""
    asked = ExecOptions(cmd=cmd, attach_stdout=True, attach_stderr=True, **options)
    stream = engine.engine.execs.start(engine.engine.execs.create(container, asked), detach=False)
    assert stream is not None
    with stream:
        said = read_all(stream)
    return said if options.get("tty") else b"".join(split_frames(said))


# --- CVE-2018-15664 ---


@pytest.fixture
def swapped(engine: TestEngine, running: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """``/work/way`` in the container is, by turns, a directory and a link to one of the host's."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"of the host")
    work = root_of(engine, running) / "work"
    (work / "way").mkdir(parents=True)
    (work / "way/file").write_bytes(b"of the container")
    (work / "link").symlink_to(secret)
    with exchanging(work / "way", work / "link"):
        yield running, secret


def test_cve_2018_15664_out_of_a_tree_that_changes(
    engine: TestEngine, swapped: tuple[str, Path]
) -> None:
    container, _ = swapped
    seen: set[bytes] = set()
    for path in ("/work/way/file", "/work/way/", "/work") * (ROUNDS // 3):
        pieces: list[bytes] = []
        with suppress(NotFound, Conflict, InvalidArgument):  # it was the link at that moment
            engine.engine.files.get(container, path, lambda about: None, pieces.append)
        whole = b"".join(pieces)
        assert b"of the host" not in whole
        seen |= {b"container"} if b"of the container" in whole else {b"nothing"}
    assert b"container" in seen


def test_cve_2018_15664_a_file_that_is_exchanged(
    engine: TestEngine, running: str, tmp_path: Path
) -> None:
    """Alone, and as one of a directory's: between the look at a name and the reading of it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"of the host")
    work = root_of(engine, running) / "work"
    work.mkdir()
    (work / "name").write_bytes(b"of the container")
    (work / "link").symlink_to(secret)
    found = b""
    with exchanging(work / "name", work / "link"):
        for path in ("/work/name", "/work") * (ROUNDS // 2):
            with suppress(NotFound, Conflict):  # it was exchanged meanwhile
                pieces: list[bytes] = []
                engine.engine.files.get(running, path, lambda about: None, pieces.append)
                found += b"".join(pieces)
    assert b"of the container" in found
    assert b"of the host" not in found


def test_cve_2018_15664_into_a_tree_that_changes(
    engine: TestEngine, swapped: tuple[str, Path]
) -> None:
    """Directories get their times last, by names that may lead elsewhere by then."""
    container, secret = swapped
    (secret / "sub").mkdir(mode=0o700)
    os.utime(secret / "sub", (1, 1))
    arrived = 0
    for number in range(ROUNDS):
        name = f"new{number}"
        path, below = (("/work/way", ""), ("/work", "way/"))[number % 2]
        members = ((f"{below}{name}", b"x", 0o4755), (f"{below}sub/", b"", 0o777))
        with suppress(WherryError):  # it was the link at that moment
            put(engine, container, path, tar_of(*members, ("file", b"lost", 0o644)))
            arrived += 1
    assert arrived
    assert sorted(os.listdir(secret)) == ["file", "sub"]
    assert (secret / "file").read_bytes() == b"of the host"
    status = (secret / "sub").stat()
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o700, 1)


# --- CVE-2019-14271 ---


def mapped() -> set[str]:
    """Device and inode of each file that this process executes from, with its path."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    fields = [line.split(maxsplit=5) for line in lines]
    return {" ".join(field[3:]) for field in fields if len(field) == 6 and field[5][0] == "/"}


def roots_of_threads() -> set[tuple[int, int]]:
    found = set()
    for thread in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError):  # it has ended
            status = os.stat(f"/proc/self/task/{thread}/root")
            found.add((status.st_dev, status.st_ino))
    return found


class Watching(io.BytesIO):
    """An archive that looks at this process whenever it is read from."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.maps: set[str] = set()
        self.roots: set[tuple[int, int]] = set()

    def look(self) -> None:
        self.maps |= mapped()
        self.roots |= roots_of_threads()

    def read(self, size: int | None = -1, /) -> bytes:
        self.look()
        return super().read(size)


@pytest.mark.parametrize("state", ["created", "running"])
def test_cve_2019_14271_no_library_of_the_containers_is_loaded(
    engine: TestEngine, state: str
) -> None:
    """Looking users up in a container's tree by the C library would load what it finds there."""
    container = engine.create("sleep", "600", user="someone")
    passwd = b"someone:x:1234:1234::/:/bin/sh\n"
    hostile = tar_of(
        ("lib/", b"", 0o755),
        (LIBRARY.lstrip("/"), b"\x7fELF of the container", 0o755),
        ("etc/nsswitch.conf", b"passwd: files\ngroup: files\n", 0o644),
        ("etc/passwd", passwd, 0o644),
        ("etc/ld.so.preload", LIBRARY.encode(), 0o644),
    )
    put(engine, container, "/", hostile)
    if state == "running":
        engine.engine.containers.start(container)
    archive = tar_of(("one", b"1", 0o644)).getvalue()
    put(engine, container, "/tmp", io.BytesIO(archive), container_user=True)  # imports are done
    before = mapped()
    watching = Watching(archive)
    put(engine, container, "/tmp", watching, container_user=True)
    engine.engine.files.get(
        container, "/etc", lambda about: watching.look(), lambda piece: watching.look()
    )
    engine.engine.containers.remove(container, force=True)
    assert watching.maps - before == set()
    here = os.stat("/")
    assert watching.roots == {(here.st_dev, here.st_ino)}


# --- CVE-2021-41089 and CVE-2021-41091 ---


def test_cve_2021_41089_no_mode_is_changed_outside(
    engine: TestEngine, running: str, tmp_path: Path
) -> None:
    """A directory's entry on a link that came before it, whose mode would be the target's."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (victim / "file").touch(mode=0o600)
    for target in (victim, f"../../../../../..{victim}"):
        archive = tar_of(("x", str(target), 0o777), ("x/", b"", 0o777), ("x/file", b"new", 0o4777))
        with suppress(WherryError):
            put(engine, running, "/tmp", archive)
    assert victim.stat().st_mode & 0o7777 == 0o700
    assert (victim / "file").stat().st_mode & 0o7777 == 0o600
    assert (victim / "file").read_bytes() == b""


def test_cve_2021_41091_no_other_user_reaches_containers_files(engine: TestEngine) -> None:
    """A setuid program in a layer is one of the host's root for whoever reaches it there. What can
    be read is as bad: a bundle has the secrets of its container's environment."""
    host = HostConfig(network_mode="none", binds=("reach:/data",))
    container = engine.create("sleep", "600", host=host, env=("TOKEN=secret",))
    engine.engine.containers.start(container)
    for place in ("/", "/data"):
        put(engine, container, place, tar_of(("setuid", b"#!", 0o4755)))
    roots = (engine.settings.data_root, engine.settings.exec_root)
    names = [name for root in roots for _, _, names in os.walk(root) for name in names]
    reached = [path for root in roots for path in _reachable(Path(root))]
    engine.engine.containers.remove(container, force=True)
    engine.engine.volumes.remove("reach")
    assert names.count("setuid") == 2
    assert "config.json" in names
    assert reached == []


def _reachable(directory: Path) -> Iterator[Path]:
    """Files that a user who is nobody here may read or execute."""
    if not directory.stat().st_mode & 0o001:
        return
    for path in directory.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _reachable(path)
        elif stat.S_ISREG(mode) and mode & 0o005:
            yield path


# --- CVE-2024-21626 ---


def test_cve_2024_21626_an_images_working_directory(engine: TestEngine) -> None:
    """The engine's own descriptors, by an image's WORKDIR and by that of an exec."""
    listing = ("ls", "-a", ".", "../../../../etc/wherry-nosuch", ".")
    for fd in DESCRIPTORS:
        container = engine.create(*listing, working_dir=f"/proc/self/fd/{fd}")
        with pytest.raises(WherryError):
            engine.engine.containers.start(container)
        engine.engine.containers.remove(container, force=True)


def test_cve_2024_21626_an_execs_working_directory(engine: TestEngine, running: str) -> None:
    for fd in DESCRIPTORS:
        with pytest.raises(WherryError):
            inside(engine, running, "ls", working_dir=f"/proc/self/fd/{fd}")
        with pytest.raises(WherryError):
            inside(engine, running, f"/proc/self/fd/{fd}/bin/sh", "-c", "true")


# --- CVE-2022-36109 ---


def test_cve_2022_36109_the_first_group_is_a_supplementary_one(engine: TestEngine) -> None:
    """Else a program could drop it, and get by what is denied to that group."""
    done = engine.run("grep", "Groups", "/proc/self/status", user="1000:1234")
    assert done.stdout.split() == [b"Groups:", b"1234"]


# --- CVE-2021-43784 ---


@pytest.mark.parametrize("size", [65535, 65536, 65537, MAX_PACKET - 4000, MAX_PACKET, 1 << 20])
def test_cve_2021_43784_no_length_is_cut_off(engine: TestEngine, running: str, size: int) -> None:
    """A message whose length overflows its field would let its rest be read as the next one."""
    forged = '"},"type":"start","request":{"id":"forged","bundle":"/"}}'
    half = size // 2
    values = [f"A={forged}{'a' * (half - len(forged))}", f"B={'b' * (size - half)}"]
    values = [value[:130_000] for value in values]  # execve(2) takes no longer one
    more = [f"C{number}={'c' * 100_000}" for number in range(size // 262_144)]
    said = inside(engine, running, "env", env=(*values, *more))
    assert {*values, *more} <= set(said.decode().splitlines())


def test_cve_2021_43784_many_long_mounts(engine: TestEngine) -> None:
    targets = [f"/{number}{'/' + 'm' * 200}{'/' + 'n' * 200}" for number in range(170)]
    mounts = tuple(MountRequest(type="tmpfs", target=target) for target in targets)
    host = HostConfig(network_mode="none", mounts=mounts)
    said = engine.run("cat", "/proc/self/mountinfo", host=host).stdout.decode()
    assert sum(map(len, targets)) > 65536
    places = [line.split()[4] for line in said.splitlines()]
    assert [place for place in places if "mmmm" in place] == targets
