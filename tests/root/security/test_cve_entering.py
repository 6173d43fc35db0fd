"""Attacks on what an engine sends into a container, at the moment before it executes its program.

A file system that never answers holds that moment still: the program's interpreter is on it. Until
then the process is the host's interpreter, has become the container's user, and can be seen in the
container; what a thread of the exec server spawns even shares the memory of a process on the host.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import MOUNTS, Box, eventually, wait

from wherry.errors import WherryError
from wherry.model.runtime_spec import LinuxNamespace, Mount, NamespaceType
from wherry.runtime.client import MonitoredProcess
from wherry.sys import mount as m

FUSE = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this machine has no FUSE")
pytestmark = [pytest.mark.root, FUSE]

OWN: tuple[NamespaceType, ...] = ("mount", "ipc", "uts", "cgroup", "network")
LOOKS = ("cat exe", "cat environ", "cat maps", "cat auxv", "ls -L fd/", "ls root/", "ls cwd/")
ATTACKS = (*LOOKS, "head -c 1 mem", "echo x >mem", "echo x >exe")
ATTACKER = """
    while ! pid=$(cat /data/victim 2>/dev/null); do sleep 0.05; done
    cd /proc/$pid || exit
    while read attack; do
        said=$(sh -c "$attack" 2>&1 >/dev/null)
        echo $? $attack: $said
    done </data/attacks >/data/told
    touch /data/done
    sleep 1000
"""


class Silence:
    """A file system in user space whose server says nothing until :meth:`end`."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True)
        self._place = str(place)
        self._server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0"
        m.mount("silence", self._place, "fuse", 0, options)

    def end(self) -> None:
        """All who wait for it get an error."""
        if self._server >= 0:
            os.close(self._server)
            self._server = -1
            m.umount2(self._place, m.MNT_DETACH)


@dataclass
class Scene:
    """A container that attacks the process whose number it finds in ``/data/victim``."""

    box: Box
    attacker: MonitoredProcess
    silence: Silence
    mounts: tuple[Mount, ...]

    def data(self, name: str) -> Path:
        return Path(f"/proc/{self.attacker.pid}/root/data/{name}")

    def victim(self) -> int:
        """The process that is held still, by its number on the host."""
        found: set[int] = set()

        def is_there() -> bool:
            found.update(pid for pid in self._inside() if _is_interpreter(pid))
            return bool(found)

        eventually(is_there)
        return found.pop()

    def _inside(self) -> Iterator[int]:
        ours = os.readlink(f"/proc/{self.attacker.pid}/ns/pid")
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it has ended
                if os.readlink(f"/proc/{name}/ns/pid") == ours:
                    yield int(name)

    def told(self, victim: int) -> list[str]:
        """What the attacks on it have led to, each with its exit code."""
        status = Path(f"/proc/{victim}/status").read_text()
        inner = status.partition("NSpid:")[2].split("\n")[0].split()[-1]
        self.data("attacks").write_text("".join(f"{one}\n" for one in ATTACKS))
        self.data("new").write_text(inner)
        self.data("new").rename(self.data("victim"))
        eventually(self.data("done").exists)
        return self.data("told").read_text().splitlines()


def _is_interpreter(pid: int) -> bool:
    with suppress(OSError):  # it has ended
        return os.path.samestat(os.stat(f"/proc/{pid}/exe"), os.stat(sys.executable))
    return False


@pytest.fixture
def scene(box: Box, tmp_path: Path) -> Iterator[Scene]:
    silence = Silence(tmp_path / "outer/silence")
    outer = Mount(
        destination="/outer", type="bind", source=str(tmp_path / "outer"), options=("rbind",)
    )
    mounts = (*MOUNTS, outer)
    try:
        attacker = box.start("sh", "-c", ATTACKER, mounts=mounts)
        state = box.bundle() / "state"
        yield Scene(box, attacker, silence, mounts)
        box.runtime.end_execs(str(state))
    finally:
        silence.end()


Entry = Callable[[Scene], MonitoredProcess]


def _exec(scene: Scene, **changes: bool) -> MonitoredProcess:
    request = scene.box.exec_request(scene.attacker, "/data/program", **changes)
    return scene.box.runtime.exec(request)


def _by_thread(scene: Scene) -> MonitoredProcess:
    return _exec(scene)


def _by_clone(scene: Scene) -> MonitoredProcess:
    return _exec(scene, apart=True)


def _as_container(scene: Scene) -> MonitoredProcess:
    """Another container in the attacker's PID namespace."""
    box = scene.box
    path = f"/proc/{scene.attacker.pid}/ns/pid"
    joined = LinuxNamespace(type="pid", path=path)
    spec = box.spec(
        "/data/program",
        mounts=scene.mounts,
        linux_namespaces=(*(LinuxNamespace(type=kind) for kind in OWN), joined),
    )
    request = box.request(spec)
    write_program(Path(request.bundle, "upper/data/program"))
    return box.runtime.start(request)


def write_program(path: Path) -> None:
    """One that cannot be executed before the file system answers."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/outer/silence/interpreter\n")
    path.chmod(0o755)


ENTRIES = {
    "exec by a thread": _by_thread,
    "exec by a clone": _by_clone,
    "container": _as_container,
}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_cve_2016_9962_and_2019_5736_nothing_of_it_can_be_seen(
    scene: Scene, pool: ThreadPoolExecutor, entry: Entry
) -> None:
    write_program(scene.data("program"))
    coming = pool.submit(entry, scene)
    try:
        told = scene.told(scene.victim())
    finally:
        scene.silence.end()
    with pytest.raises(WherryError):
        coming.result(patience(20.0))
    assert len(told) == len(ATTACKS)
    assert [line for line in told if line.startswith("0 ") or "denied" not in line] == []


@pytest.mark.parametrize("entry", [_by_thread, _by_clone], ids=["by a thread", "by a clone"])
def test_a_container_that_kills_it_harms_nobody_else(
    scene: Scene, pool: ThreadPoolExecutor, entry: Entry
) -> None:
    write_program(scene.data("program"))
    coming: Future[MonitoredProcess] = pool.submit(entry, scene)
    os.kill(scene.victim(), 9)  # as root in the container may
    with suppress(WherryError):
        assert wait(scene.box.keep(coming.result(patience(20.0)))).code == 137
    assert scene.box.exec(scene.attacker, "echo", "here").lines == ["here"]
