"""Control groups on the running kernel, in whichever versions it has."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience

from wherry.cgroup import open_cgroups
from wherry.cgroup.api import Cgroup, Cgroups
from wherry.cgroup.mounts import parse_layout
from wherry.errors import Conflict, InvalidArgument, NotFound, NotSupported
from wherry.model.runtime_spec import (
    LinuxCpu,
    LinuxDeviceCgroup,
    LinuxHugepageLimit,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
)

MIB = 1024 * 1024
NOTHING = LinuxResources()


def roots() -> list[str]:
    """Every way this host can be looked at: as a whole, and its version 2 alone."""
    with open("/proc/self/mountinfo") as file:
        layout = parse_layout("/sys/fs/cgroup", file)
    if layout is None:
        return []
    unified = [layout.unified.mountpoint] if layout.unified else []
    return list(dict.fromkeys(["/sys/fs/cgroup", *unified]))


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not roots(), reason="no control groups are mounted"),
]


@pytest.fixture(params=roots())
def cgroups(request: pytest.FixtureRequest) -> Cgroups:
    return open_cgroups(request.param)


def leftovers(name: str) -> list[Path]:
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return [top / name for top in tops if (top / name).exists()]


@pytest.fixture
def path() -> Iterator[str]:
    """The path of a group below one of the test's own; nothing is left of either."""
    top = f"wherry-test-{uuid.uuid4().hex[:8]}"
    yield f"/{top}/c1"
    found = leftovers(top)
    inner = [child for top_dir in found for child in top_dir.iterdir() if child.is_dir()]
    for top_dir in found:
        with contextlib.suppress(OSError):
            top_dir.rmdir()
    assert inner == []
    assert leftovers(top) == []


@contextlib.contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with pipes that has ended afterwards, whatever the test does."""
    with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with running("sleep", "1000") as process:
        yield process


def needs(cgroups: Cgroups, path: str, resources: LinuxResources) -> Cgroup:
    """Make a group, or skip by the name of the controller that the host lacks."""
    try:
        return cgroups.create(path, resources)
    except NotSupported as error:
        pytest.skip(str(error))


def file_of(path: str, name: str) -> str:
    """The content of a file of the group, in whichever tree has it."""
    found = sorted(Path("/sys/fs/cgroup").glob(f"*{path}/{name}"))
    found += sorted(Path("/sys/fs/cgroup").glob(f"{path.lstrip('/')}/{name}"))
    return found[0].read_text().strip()


def test_create_add_and_remove(
    cgroups: Cgroups, path: str, sleeper: subprocess.Popen[bytes]
) -> None:
    group = cgroups.create(path, NOTHING)
    group.add(sleeper.pid)
    assert group.path == path
    assert group.pids() == (sleeper.pid,)
    lines = Path(f"/proc/{sleeper.pid}/cgroup").read_text().splitlines()
    assert sum(line.endswith(path) for line in lines) >= 1
    sleeper.kill()
    sleeper.wait()
    group.remove()
    group.remove()
    assert leftovers(path.lstrip("/")) == []


def test_all_trees_are_joined(path: str, sleeper: subprocess.Popen[bytes]) -> None:
    group = open_cgroups().create(path, NOTHING)
    group.add(sleeper.pid)
    lines = Path(f"/proc/{sleeper.pid}/cgroup").read_text().splitlines()
    assert [line for line in lines if not line.endswith(path)] == []
    group.kill()
    sleeper.wait()
    group.remove()


def test_open(cgroups: Cgroups, path: str) -> None:
    with pytest.raises(NotFound, match=path):
        cgroups.open(path)
    group = cgroups.create(path, NOTHING)
    assert cgroups.open(path).pids() == ()
    group.remove()


def test_a_group_in_use_is_a_conflict(
    cgroups: Cgroups, path: str, sleeper: subprocess.Popen[bytes]
) -> None:
    group = cgroups.create(path, NOTHING)
    group.add(sleeper.pid)
    with pytest.raises(Conflict, match="in use"):
        cgroups.create(path, NOTHING)
    group.kill()
    sleeper.wait()
    assert cgroups.create(path, NOTHING).pids() == ()
    group.remove()


def test_add_of_a_process_that_ended(cgroups: Cgroups, path: str) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    group = cgroups.create(path, NOTHING)
    with pytest.raises(Conflict, match="has ended"):
        group.add(process.pid)
    group.remove()


@pytest.mark.parametrize("bad", ["", "x", "/", "/a/../b", "/a//b", "/a/", "/a\nb", "/./a"])
def test_paths_that_leave_the_tree(cgroups: Cgroups, bad: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid path"):
        cgroups.create(bad, NOTHING)


def test_freeze_and_thaw(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, NOTHING)
    with running("cat") as process:
        assert process.stdin
        assert process.stdout
        group.add(process.pid)
        group.freeze()
        process.stdin.write(b"x")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 0.05)[0] == []
        group.thaw()
        assert process.stdout.read1(1) == b"x"
    group.remove()


def make_below(path: str, names: str) -> list[Path]:
    """What a container with groups of its own does: make some below its group."""
    made = [top / names for top in leftovers(path.lstrip("/"))]
    for directory in made:
        directory.mkdir(parents=True)
    return made


def test_kill_reaches_frozen_processes_and_groups_below(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, NOTHING)
    below = make_below(path, "deep/deeper")
    with running("sleep", "1000") as first, running("sleep", "999") as second:
        group.add(first.pid)
        group.add(second.pid)
        for directory in below:
            with contextlib.suppress(OSError):  # cpuset's takes none before it is set up
                (directory / "cgroup.procs").write_text(str(second.pid))
        assert group.pids() == tuple(sorted((first.pid, second.pid)))
        group.freeze()
        group.kill()
        assert first.wait(patience(5)) == second.wait(patience(5)) == -signal.SIGKILL
    group.remove()
    assert leftovers(path.lstrip("/")) == []


def test_remove_waits_for_the_dying(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, NOTHING)
    with running("sleep", "1000") as process:
        group.add(process.pid)
        pid = os.fork()
        if pid == 0:  # kills only once the group is being removed, or soon before
            os.kill(process.pid, signal.SIGKILL)
            os._exit(0)
        group.remove()
        os.waitpid(pid, 0)
    assert leftovers(path.lstrip("/")) == []


def test_deep_nesting_is_removed(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, NOTHING)
    top = next(p for p in leftovers(path.lstrip("/")))
    fd = os.open(top, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("a" * 60, dir_fd=fd)  # 6,000 characters: longer than any path
        deeper = os.open("a" * 60, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    group.remove()
    assert leftovers(path.lstrip("/")) == []


def test_nothing_is_left_of_a_refused_group(cgroups: Cgroups, path: str) -> None:
    resources = LinuxResources(cpu=LinuxCpu(cpus="900-1000"))
    with pytest.raises((InvalidArgument, NotSupported), match="cpuset"):
        cgroups.create(path, resources)
    assert leftovers(path.lstrip("/")) == []


def test_a_missing_controller_is_named(cgroups: Cgroups, path: str) -> None:
    limit = LinuxHugepageLimit(page_size="3MB", limit=MIB)
    with pytest.raises(NotSupported, match="hugetlb"):
        cgroups.create(path, LinuxResources(hugepage_limits=(limit,)))
    assert leftovers(path.lstrip("/")) == []


def test_limits_can_be_raised_and_lowered(cgroups: Cgroups, path: str) -> None:
    group = needs(
        cgroups,
        path,
        LinuxResources(
            memory=LinuxMemory(limit=100 * MIB, swap=200 * MIB),
            pids=LinuxPids(limit=50),
            cpu=LinuxCpu(quota=50000, period=100000, shares=512),
        ),
    )
    try:
        for limit, swap in ((300, 400), (50, 60), (70, 1000), (2000, -1), (-1, None)):
            bytes_of_swap = swap if swap in (None, -1) else swap * MIB
            memory = LinuxMemory(limit=limit * MIB if limit > 0 else -1, swap=bytes_of_swap)
            group.update(LinuxResources(memory=memory))
            assert group.stats().memory.limit == max(0, limit * MIB)
        assert group.stats().pids.limit == 50
        group.update(LinuxResources(pids=LinuxPids(limit=-1), cpu=LinuxCpu(quota=-1)))
        assert group.stats().pids.limit == 0
    finally:
        group.remove()


def test_a_limit_below_what_is_used_is_refused(cgroups: Cgroups, path: str) -> None:
    group = needs(cgroups, path, LinuxResources(pids=LinuxPids(limit=5)))
    try:
        with pytest.raises(InvalidArgument, match="cannot set"):
            group.update(LinuxResources(cpu=LinuxCpu(quota=1)))
    finally:
        group.remove()


def test_pids_limit_and_stats(cgroups: Cgroups, path: str) -> None:
    group = needs(cgroups, path, LinuxResources(pids=LinuxPids(limit=1)))
    script = "import sys, os; sys.stdin.read(1); os.fork()"
    with running(sys.executable, "-c", script) as process:
        group.add(process.pid)
        assert group.stats().pids.current == 1
        _, error = process.communicate(b"x")
        assert b"Resource temporarily unavailable" in error
    group.remove()


def test_oom_kills_are_counted(cgroups: Cgroups, path: str) -> None:
    group = needs(cgroups, path, LinuxResources(memory=LinuxMemory(limit=8 * MIB, swap=8 * MIB)))
    script = "import sys; sys.stdin.read(1); x = b'x' * (64 << 20)"
    with running(sys.executable, "-c", script) as process:
        group.add(process.pid)
        assert group.oom_kills() == 0
        process.communicate(b"x")
        assert process.returncode == -signal.SIGKILL
    assert group.oom_kills() == 1
    assert group.stats().memory.max_usage > 0
    group.remove()


def test_cpu_time_is_counted(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, NOTHING)
    script = (
        "import sys; sys.stdin.read(1); sum(range(300000)); print(1, flush=True); sys.stdin.read(1)"
    )
    with running(sys.executable, "-c", script) as process:
        assert process.stdin
        assert process.stdout
        group.add(process.pid)
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.readline()
        assert group.stats().cpu.usage_ns > 1000
    group.remove()


RULES = (
    LinuxDeviceCgroup(allow=False, access="rwm"),
    LinuxDeviceCgroup(allow=True, type="c", major=1, minor=3, access="rwm"),
    LinuxDeviceCgroup(allow=True, type="c", major=1, minor=5, access="r"),
    LinuxDeviceCgroup(allow=True, type="c", major=1, minor=9, access="rwm"),
    LinuxDeviceCgroup(allow=False, type="c", major=1, minor=9, access="w"),
    LinuxDeviceCgroup(allow=True, type="c", access="m"),
)
TRY_DEVICES = """
import os, stat, sys, tempfile
sys.stdin.read(1)
def attempt(action):
    try:
        action()
    except PermissionError:
        return "no"
    return "yes"
def node(kind, major, minor):
    with tempfile.TemporaryDirectory() as d:
        os.mknod(d + "/n", kind | 0o600, os.makedev(major, minor))
print(
    attempt(lambda: os.open("/dev/null", os.O_RDWR)),
    attempt(lambda: os.open("/dev/zero", os.O_RDONLY)),
    attempt(lambda: os.open("/dev/zero", os.O_RDWR)),
    attempt(lambda: os.open("/dev/urandom", os.O_RDONLY)),
    attempt(lambda: os.open("/dev/urandom", os.O_WRONLY)),
    attempt(lambda: os.open("/dev/full", os.O_RDONLY)),
    attempt(lambda: node(stat.S_IFCHR, 7, 7)),
    attempt(lambda: node(stat.S_IFBLK, 7, 7)),
)
"""


def device_answers(group: Cgroup) -> list[str]:
    with running(sys.executable, "-c", TRY_DEVICES) as process:
        group.add(process.pid)
        output, _ = process.communicate(b"x")
    return output.decode().split()


def test_device_rules_and_their_replacement(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, LinuxResources(devices=RULES))
    answers = device_answers(group)
    group.update(LinuxResources(devices=(LinuxDeviceCgroup(allow=True, access="rwm"),)))
    everything = device_answers(group)
    group.remove()
    assert answers == ["yes", "yes", "no", "yes", "no", "no", "yes", "no"]
    assert everything == ["yes"] * 8


def test_a_device_rule_that_makes_no_sense(cgroups: Cgroups, path: str) -> None:
    rule = LinuxDeviceCgroup(allow=True, type="x", access="r")
    with pytest.raises(InvalidArgument, match="invalid device rule"):
        cgroups.create(path, LinuxResources(devices=(rule,)))
    assert leftovers(path.lstrip("/")) == []


def test_directory_fd_only_where_a_clone_can_use_it(cgroups: Cgroups, path: str) -> None:
    group = cgroups.create(path, NOTHING)
    fd = group.directory_fd()
    assert (fd is not None) == (cgroups.mode != "legacy")
    if fd is not None:
        os.close(fd)
    group.remove()


def test_no_descriptor_is_left_open(cgroups: Cgroups, path: str) -> None:
    before = os.listdir("/proc/self/fd")
    group = cgroups.create(path, LinuxResources(devices=RULES))
    group.stats()
    group.pids()
    group.remove()
    assert len(os.listdir("/proc/self/fd")) == len(before)
