"""Inits that are held ready: containers begin in them as in those that are cloned; none stays."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import CAPABILITIES, NAMESPACES, Box, eventually, wait

from wherry.errors import InvalidArgument, WherryError
from wherry.model import docker_defaults as docker
from wherry.model.runtime_spec import LinuxDevice, LinuxNamespace, Mount, User
from wherry.runtime.client import LauncherRuntime
from wherry.runtime.host import find_host
from wherry.runtime.launch.launcher import SPARES
from wherry.runtime.seccomp.profile import default_profile

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        find_host().layout.unified, reason="on cgroup v2 processes are born in their groups"
    ),
]

_STATUS = (
    "cat /proc/self/status | grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Sig...):'; "
    "umask; pwd; hostname; env; cut -d' ' -f3- /proc/self/mountinfo | sed 's,upperdir.*,,'; "
    "cat /proc/self/oom_score_adj; cut -d: -f2- /proc/self/cgroup; cat /proc/1/comm; "
    "ls /proc/self/fd; ls /dev; cut -d' ' -f5-7 /proc/1/stat"
)
_TREE = (
    "cut -d' ' -f3- /proc/self/mountinfo | sed 's,upperdir.*,,'; ls -lR /dev | sed 's/..:.. / /'; "
    "for name in /proc/* /proc/sys/kernel/hostname; do stat -c '%n %F %t %T %a' $name; done "
    "| grep -v '^/proc/[0-9]'; ls -l /sys/firmware; touch /proc/sys/kernel/domainname 2>&1"
)
_OWN_TIME = tuple(LinuxNamespace(type=kind) for kind in (*NAMESPACES, "time"))
"""Only a process that is cloned for it gets this."""
_PATIENCE = patience(20.0)
_MOUNTS = (*(docker.PROC, docker.DEV, docker.PTS, docker.SYS, docker.CGROUP, docker.MQUEUE),)
_MADE_BEFORE = {
    "mounts": (*_MOUNTS, docker.shm()),
    "linux_masked_paths": docker.MASKED_PATHS,
    "linux_readonly_paths": docker.READONLY_PATHS,
}
"""Mounts that an init makes while it waits."""
_BETWEEN = Mount(destination="/dev/between", type="tmpfs", source="tmpfs", options=("mode=700",))


@pytest.fixture
def alone(box: Box, tmp_path: Path) -> Iterator[Box]:
    """Containers of a launcher whose processes may be killed."""
    runtime = LauncherRuntime(str(tmp_path))
    made = dataclasses.replace(box, runtime=runtime)
    yield made
    made.stop_all()
    runtime.close()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _named(pids: list[int], name: str) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_text().startswith(name)]


def _waiting(box: Box) -> set[int]:
    """The inits that are held ready, when there are as many as there ought to be."""
    found: set[int] = set()

    def are_all_there() -> bool:
        monitors = _named(_children(box.runtime.launcher_pid), "wherry-monitor (waiting)")
        for pid in monitors:
            found.update(_named(_children(pid), "wherry-init (waiting)"))
        return len(found) == SPARES

    eventually(are_all_there)
    return found


def _kill(pid: int) -> None:
    """Kill, and wait for the end."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], _PATIENCE)[0]
    finally:
        os.close(pidfd)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize(
    "process",
    [{}, {"process_user": User(uid=12, gid=34, additional_gids=(56,)), "process_cwd": "/tmp"}],
    ids=["root", "user"],
)
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_as_confined_as_a_clone(box: Box, process: dict[str, object], terminal: bool) -> None:
    options = {
        "linux_seccomp": default_profile(list(CAPABILITIES)),
        "process_terminal": terminal,
        **process,
    }
    ready = _waiting(box)
    waited = box.run("sh", "-c", _STATUS, **options)
    cloned = box.run("sh", "-c", _STATUS, **options, linux_namespaces=_OWN_TIME)

    assert waited.process.pid in ready
    assert _without_names(waited.lines) == _without_names(cloned.lines)
    assert len(waited.lines) > 50


def _without_names(lines: list[str]) -> list[str]:
    """Without the numbers of devices, and of namespaces' file systems, that differ each time."""
    return [line.partition(" - ")[2] or line for line in lines]


@pytest.mark.parametrize(
    "options",
    [
        _MADE_BEFORE,
        {**_MADE_BEFORE, "linux_masked_paths": (*docker.MASKED_PATHS, "/proc/uptime")},
        {**_MADE_BEFORE, "linux_masked_paths": docker.MASKED_PATHS[::-1]},
        {**_MADE_BEFORE, "linux_masked_paths": ()},
        {**_MADE_BEFORE, "mounts": (*_MOUNTS, docker.shm(1 << 20))},
        {**_MADE_BEFORE, "mounts": (*_MOUNTS, docker.shm(), _BETWEEN)},
        {
            **_MADE_BEFORE,
            "linux_devices": (LinuxDevice(type="c", path="/dev/x", major=1, minor=3),),
        },
    ],
    ids=["usual", "more hidden", "other order", "nothing hidden", "shm", "between", "device"],
)
def test_the_same_mounts_as_in_a_clone(box: Box, options: dict[str, Any]) -> None:
    ready = _waiting(box)
    waited = box.run("sh", "-c", _TREE, **options)
    cloned = box.run("sh", "-c", _TREE, **options, linux_namespaces=_OWN_TIME)

    assert waited.process.pid in ready
    # The kernel lists mounts in the order in which they were made (since Linux 6.8).
    assert sorted(_without_names(waited.lines)) == sorted(_without_names(cloned.lines))
    assert len(waited.lines) > 60


def test_what_was_mounted_beforehand_is_used_once(box: Box) -> None:
    ready = {pid: _premade(pid) for pid in _waiting(box)}
    used = []
    for _ in range(2):
        pid = box.start("sleep", "100", **_MADE_BEFORE).pid
        used.append({os.stat(f"/proc/{pid}/root/{name}").st_dev for name in ("proc", "dev")})
        assert used[-1] <= ready[pid]

    assert not used[0] & used[1]


def _premade(pid: int) -> set[int]:
    """The file systems that an init has opened, once it is back where it was made."""
    home = os.stat("/proc/self/ns/mnt").st_ino
    found: set[int] = set()

    def are_all_there() -> bool:
        found.update(_devices(f"/proc/{pid}/fd"))
        return len(found) > 3 and os.stat(f"/proc/{pid}/ns/mnt").st_ino == home

    eventually(are_all_there)
    return found


def _devices(directory: str) -> set[int]:
    return {os.stat(f"{directory}/{name}").st_dev for name in os.listdir(directory)}


@pytest.mark.parametrize(
    "namespaces",
    [tuple(one for one in _OWN_TIME if one.type not in ("pid", "time")), _OWN_TIME],
    ids=["host's processes", "own time"],
)
def test_what_needs_a_clone(box: Box, namespaces: tuple[LinuxNamespace, ...]) -> None:
    ready = _waiting(box)
    container = box.start("sleep", "100", linux_namespaces=namespaces)

    assert container.pid not in ready
    eventually(lambda: _children(_parent(container.pid)) == [container.pid])


def test_an_exec_lets_it_go(box: Box) -> None:
    container = box.start("sleep", "100")
    _waiting(box)
    inner = box.keep(box.runtime.exec(box.exec_request(container, "sleep", "100", terminal=True)))

    eventually(lambda: _named(_children(_parent(inner.pid)), "wherry-init") == [])
    inner.signal(signal.SIGKILL)
    assert wait(inner).code == 137


def test_one_that_was_killed_is_replaced_by_a_clone(alone: Box) -> None:
    for pid in _waiting(alone):
        _kill(pid)
    container = alone.start("sleep", "100")

    eventually(lambda: _children(_parent(container.pid)) == [container.pid])


def test_it_ends_with_its_monitor_and_with_its_starter(alone: Box) -> None:
    first, second, _ = (_parent(pid) for pid in sorted(_waiting(alone)))
    pidfds = [os.pidfd_open(_named(_children(pid), "wherry-init")[0]) for pid in (first, second)]
    _kill(first)
    _kill(_named(_children(second), "wherry-starter")[0])

    for pidfd in pidfds:
        assert select.select([pidfd], [], [], _PATIENCE)[0]
        os.close(pidfd)
    assert alone.run("echo", "here").lines == ["here"]


def test_what_is_wrong_is_told_and_nothing_stays(box: Box) -> None:
    ready = _waiting(box)
    with pytest.raises(InvalidArgument, match="working directory 'tmp' is not an absolute path"):
        box.start("true", process_cwd="tmp")
    with pytest.raises(WherryError, match='exec: "nothing": executable file not found'):
        box.start("nothing")

    eventually(lambda: sum(not Path(f"/proc/{pid}").exists() for pid in ready) == 2)
    assert not (box.bundle() / "state").exists()
    assert not Path(f"/sys/fs/cgroup/pids/{box.prefix}/{box.bundle().name}").exists()
