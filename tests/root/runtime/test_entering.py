"""Execs that a thread sets up: as confined, and as well looked after, as those of a clone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.root.runtime.boxes import CAPABILITIES, NAMESPACES, Box, wait

from wherry.model.runtime_spec import Capabilities, LinuxPids, LinuxResources, Rlimit, User
from wherry.runtime.seccomp.profile import default_profile

pytestmark = pytest.mark.root

_STATUS = (
    "cat /proc/self/status | grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|SigBlk|SigCgt):'; "
    "for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done; umask; pwd; "
    "cat /proc/self/oom_score_adj /proc/self/cgroup; echo $(ls /proc/self/fd)"
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"user": User(uid=12, gid=34, additional_gids=(56, 78)), "cwd": "/tmp"},
        {"no_new_privileges": True, "capabilities": Capabilities()},
    ],
    ids=["root", "user", "nothing"],
)
def test_as_confined_as_a_clone(box: Box, changes: dict[str, object]) -> None:
    """A limit makes the second exec one that is cloned."""
    profile = default_profile(list(CAPABILITIES))
    container = box.start("sleep", "100", linux_seccomp=profile)
    entered = box.exec(container, "sh", "-c", _STATUS, **changes)
    limit = {"rlimits": (Rlimit(type="RLIMIT_CORE", soft=0, hard=0),)}
    cloned = box.exec(container, "sh", "-c", _STATUS, **changes, **limit)

    assert entered.code == cloned.code == 0, entered.stderr
    assert entered.lines == cloned.lines
    assert len(entered.lines) > 12 + len(NAMESPACES)


def test_no_signal_is_ignored(box: Box) -> None:
    """But the two that the C library keeps for its threads: it spawns all processes so."""
    container = box.start("sleep", "100")
    (line,) = box.exec(container, "grep", "SigIgn", "/proc/self/status").lines

    assert int(line.split()[1], 16) & ~(3 << 31) == 0


def _parent(pid: int) -> str:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    try:
        return Path(f"/proc/{fields[1]}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def test_process_is_its_server_s_and_leads_a_session(box: Box) -> None:
    container = box.start("sleep", "100")
    running = box.keep(box.runtime.exec(box.exec_request(container, "sleep", "50")))

    assert _parent(running.pid) == "wherry-execs"
    assert os.getpgid(running.pid) == os.getsid(running.pid) == running.pid
    running.signal(9)
    assert wait(running).code == 137
    assert not os.path.exists(f"/proc/{running.pid}")


def test_group_without_room_for_a_thread(box: Box) -> None:
    """The last process that the limit allows is cloned."""
    limits = LinuxResources(pids=LinuxPids(limit=2))
    container = box.start("sleep", "100", linux_resources=limits)

    assert box.exec(container, "true").code == 0
