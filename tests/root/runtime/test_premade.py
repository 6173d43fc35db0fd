"""Mounts that a starter makes for containers that it clones itself, where no init is held ready: on
control groups of version 2."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.root.runtime.boxes import Box, eventually

from wherry.model import docker_defaults as docker
from wherry.model.runtime_spec import IdMapping, LinuxNamespace
from wherry.runtime.client import LauncherRuntime
from wherry.runtime.host import find_host
from wherry.runtime.launch.launcher import SPARES

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not (find_host().layout.unified or find_host().layout.beside),
        reason="this machine has no control groups of version 2",
    ),
]
_TREE = Path("/sys/fs/cgroup" if find_host().layout.unified else "/sys/fs/cgroup/unified")
_USUAL = {
    "mounts": (
        *(docker.PROC, docker.DEV, docker.PTS, docker.SYS, docker.CGROUP, docker.MQUEUE),
        docker.shm(),
    ),
    "linux_masked_paths": docker.MASKED_PATHS,
    "linux_readonly_paths": docker.READONLY_PATHS,
}
_LOOK = (
    "cut -d' ' -f4-7,9- /proc/self/mountinfo | sed 's,upperdir.*,,' | grep -v cgroup; "
    "ls -lR /dev | sed 's/..:.. / /'; echo here > /dev/shm/file; cat /dev/shm/file; cat /proc/kcore"
)


@pytest.fixture
def cloning(box: Box, tmp_path: Path, run_id: str) -> Iterator[Box]:
    """Containers of a launcher that was started in a group of version 2; this process is there for
    that moment."""
    own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    service = _TREE / f"{run_id}-launcher"
    service.mkdir()
    (service / "cgroup.procs").write_text("0")
    try:
        runtime = LauncherRuntime(str(tmp_path))
    finally:
        (_TREE / own / "cgroup.procs").write_text("0")
    made = dataclasses.replace(box, runtime=runtime, prefix=f"{box.prefix}c", started=[])
    yield made
    made.stop_all()
    runtime.close()
    eventually(lambda: not (service / "cgroup.procs").read_text())
    service.rmdir()
    for tree in (_TREE, *_TREE.parent.iterdir()):
        if (tree / made.prefix).is_dir():
            (tree / made.prefix).rmdir()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _made(box: Box) -> list[set[int]]:
    """The file systems that only one starter holds, of each, once all of them wait."""
    found: list[set[int]] = []

    def are_all_there() -> bool:
        monitors = _children(box.runtime.launcher_pid)
        starters = [child for pid in monitors for child in _children(pid)]
        waiting = [pid for pid in starters if "anon_inode:[eventpoll]" in _opened(pid)]
        found[:] = [_directories(pid) for pid in waiting]
        return len(found) == SPARES

    eventually(are_all_there)
    shared = found[0] & found[1]
    return [one - shared for one in found]


def _opened(pid: int) -> set[str]:
    """The names of what a process has open; it may be opening and closing files meanwhile."""
    names = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.add(os.readlink(file))
    return names


def _directories(pid: int) -> set[int]:
    """The file systems of the directories that a process has open."""
    devices = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found = file.stat()
            if stat.S_ISDIR(found.st_mode):
                devices.add(found.st_dev)
    return devices


def test_a_clone_has_the_same_mounts(box: Box, cloning: Box) -> None:
    _made(cloning)
    cloned, waited = (one.run("sh", "-c", _LOOK, **_USUAL) for one in (cloning, box))

    assert _sorted(cloned.lines) == _sorted(waited.lines)
    assert "here" in cloned.lines


def _sorted(lines: list[str]) -> list[str]:
    """Without the numbers of namespaces' file systems, in no order: that of the mounts differs."""
    return sorted(line.partition(" - ")[2] or line for line in lines)


def test_it_gets_what_its_starter_has_made(cloning: Box) -> None:
    made = _made(cloning)
    container = cloning.start("sleep", "100", **_USUAL)

    assert sum(os.stat(f"/proc/{container.pid}/root/dev").st_dev in one for one in made) == 1


def test_users_of_its_own_get_nothing_of_the_hosts_root(cloning: Box) -> None:
    made = _made(cloning)
    mappings = (IdMapping(container_id=0, host_id=0, size=1 << 16),)
    kinds = ("mount", "pid", "ipc", "uts", "cgroup", "network", "user")
    container = cloning.start(
        *("sleep", "100"),
        **_USUAL,
        linux_namespaces=tuple(LinuxNamespace(type=kind) for kind in kinds),
        linux_uid_mappings=mappings,
        linux_gid_mappings=mappings,
    )

    assert not any(os.stat(f"/proc/{container.pid}/root/dev").st_dev in one for one in made)
