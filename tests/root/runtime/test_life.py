"""Exec, adoption by another engine, and what survives when processes of ours are killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import Box, eventually, read_until, split, wait

from wherry.errors import Conflict
from wherry.model.runtime_spec import (
    Hook,
    Hooks,
    IdMapping,
    LinuxMemory,
    LinuxNamespace,
    LinuxResources,
    User,
)
from wherry.runtime.api import CommandNotFound, ExitStatus, LogSettings
from wherry.runtime.client import LauncherRuntime, MonitoredProcess
from wherry.runtime.logs.reader import LogReader

pytestmark = pytest.mark.root


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# --- exec ---


def test_exec_runs_inside_the_container(box: Box) -> None:
    process = box.start("sleep", "100")
    result = box.exec(process, "sh", "-c", "hostname; echo $A; ps | grep -c '[s]leep 100'; exit 4")
    assert result.lines == ["box", "1", "1"]
    assert result.code == 4
    names = ("mnt", "pid", "ipc", "uts", "net", "cgroup")
    script = "".join(f"readlink /proc/self/ns/{name};" for name in names)
    inside = box.exec(process, "sh", "-c", script).lines
    assert inside == [os.readlink(f"/proc/{process.pid}/ns/{name}") for name in names]


def test_exec_is_in_the_containers_group_and_as_confined(box: Box) -> None:
    process = box.start("sleep", "100")
    lines = box.exec(process, "sh", "-c", "cat /proc/self/cgroup; grep CapEff /proc/self/status")
    assert all(line.endswith(":/") for line in lines.lines[:-1])
    assert lines.lines[-1].endswith("00000000a80425fb")


def test_exec_as_a_user_in_a_directory_with_a_terminal(box: Box) -> None:
    process = box.start("sleep", "100")
    result = box.exec(
        process,
        "sh",
        "-c",
        "id -u; pwd; tty; stty size",
        terminal=True,
        console_size=(20, 30),
        user=User(uid=1000, gid=1000),
        cwd="/data",
    )
    assert result.stdout.split() == [b"1000", b"/data", b"/dev/pts/0", b"20", b"30"]


def test_exec_sees_no_descriptor_of_the_host(box: Box) -> None:
    process = box.start("sleep", "100")
    result = box.exec(process, "sh", "-c", "ls -l /proc/$$/fd | grep -v pipe")
    assert [line.split()[-1] for line in result.lines if "->" in line] == ["/dev/null"]


def test_exec_of_what_does_not_exist(box: Box) -> None:
    process = box.start("sleep", "100")
    with pytest.raises(CommandNotFound, match=r'exec: "nosuch": executable file not found'):
        box.exec(process, "nosuch")


def test_exec_in_a_container_that_has_ended(box: Box) -> None:
    process = box.start("true")
    request = box.exec_request(process, "true")
    wait(process)
    with pytest.raises(Conflict, match="is not running"):
        box.runtime.exec(request)


def test_exec_ends_though_a_child_of_it_holds_its_output(box: Box) -> None:
    process = box.start("sleep", "100")
    assert box.exec(process, "sh", "-c", "sleep 90 & exit 6").code == 6


# --- other engines ---


def test_another_engine_takes_up_a_running_container(box: Box, tmp_path: Path) -> None:
    log = LogSettings(driver="local", path=str(tmp_path / "log"))
    first = LauncherRuntime(str(tmp_path / "exec-root"))
    spec = box.spec("sh", "-c", "echo one; read x; echo $x; exit 9")
    started = first.start(box.request(spec, open_stdin=True, log=log))
    eventually(lambda: len(list(LogReader(log).read())) == 1)
    os.kill(first.launcher_pid, signal.SIGKILL)
    started.close()
    first.close()
    found = box.runtime.adopt(str(box.bundle() / "state"))
    assert isinstance(found, MonitoredProcess)
    assert (found.pid, found.created_mountpoints) == (started.pid, started.created_mountpoints)
    client = found.attach(stdin=True, stdout=True, stderr=True)
    client.sendall(b"two\n")
    assert split(read_until(client, b"two\n"))[0] == b"two\n"
    client.close()
    assert wait(found).code == 9
    assert [record.data for record in LogReader(log).read()] == [b"one\n", b"two\n"]
    again = box.runtime.adopt(str(box.bundle() / "state"))
    assert isinstance(again, ExitStatus)
    assert again.code == 9


def test_an_end_that_no_engine_saw_is_recorded(box: Box, tmp_path: Path) -> None:
    process = box.start("sh", "-c", "read x; exit 8", open_stdin=True)
    client = process.attach(stdin=True, stdout=True, stderr=True)
    monitor = parent_of(process.pid)
    process.close()
    client.sendall(b"\n")
    eventually(lambda: not _alive(monitor))
    status = box.runtime.adopt(str(box.bundle() / "state"))
    assert isinstance(status, ExitStatus)
    assert status.code == 8
    client.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_is_known_of_what_never_was(box: Box, tmp_path: Path) -> None:
    assert box.runtime.adopt(str(tmp_path / "nosuch")) is None
    assert box.runtime.adopt(str(tmp_path)) is None


def test_a_launcher_that_was_killed_is_replaced(tmp_path: Path, box: Box) -> None:
    runtime = LauncherRuntime(str(tmp_path / "exec-root"))
    try:
        box.runtime = runtime
        first = box.start("sleep", "100")
        killed = runtime.launcher_pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not _alive(killed))
        second = box.start("sleep", "100")
        assert runtime.launcher_pid != killed
        for process in (first, second):
            process.signal(signal.SIGKILL)
            assert wait(process).code == 137
    finally:
        runtime.close()


def test_a_container_dies_with_its_monitor_and_nothing_is_left(box: Box) -> None:
    process = box.start("sh", "-c", "sleep 100 & sleep 100")
    os.kill(parent_of(process.pid), signal.SIGKILL)
    assert wait(process).code == 137
    groups = list(Path("/sys/fs/cgroup").glob(f"*/{box.prefix}/{box.bundle().name}"))
    assert groups == []


def test_many_starts_at_once(box: Box) -> None:
    assert box.run("true").code == 0  # the parent group of all exists
    requests = [box.request(box.spec("sh", "-c", f"exit {n}")) for n in range(12)]
    codes: dict[int, int] = {}

    def start(number: int) -> None:
        codes[number] = wait(box.runtime.start(requests[number])).code

    threads = [threading.Thread(target=start, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(30))
    assert codes == {number: number for number in range(12)}


# --- limits and hooks ---


def test_a_process_killed_for_memory_is_told(box: Box) -> None:
    resources = LinuxResources(memory=LinuxMemory(limit=8 << 20, swap=8 << 20))
    result = box.run("sh", "-c", "x=$(yes | head -c 50000000)", linux_resources=resources)
    assert result.code == 137
    assert result.status.oom_killed


def test_hooks_run_in_order_with_the_state(box: Box) -> None:
    out = box.directory / "hooks"
    inside = (Hook(path="/bin/sh", args=("sh", "-c", "cat > /data/seen")),)

    def hook(name: str) -> tuple[Hook, ...]:
        script = f'echo {name} >> {out}; grep -o \'"status":"[a-z]*"\' >> {out}'
        return (Hook(path="/bin/sh", args=("sh", "-c", script)),)

    hooks = Hooks(
        prestart=hook("prestart"),
        create_runtime=hook("createRuntime"),
        create_container=hook("createContainer"),
        start_container=inside,
        poststart=hook("poststart"),
        poststop=hook("poststop"),
    )
    result = box.run("cat", "/data/seen", hooks=hooks)
    assert f'"pid":{result.process.pid}' in result.stdout.decode()
    assert out.read_text().split() == [
        "prestart",
        '"status":"creating"',
        "createRuntime",
        '"status":"creating"',
        "createContainer",
        '"status":"creating"',
        "poststart",
        '"status":"running"',
        "poststop",
        '"status":"stopped"',
    ]


@pytest.mark.parametrize("kind", ["prestart", "create_container", "poststart"])
def test_a_hook_that_fails_stops_the_start(box: Box, kind: str) -> None:
    failing = Hooks(**{kind: (Hook(path="/bin/false"),)})
    with pytest.raises(Exception, match="the hook /bin/false failed with status 1"):
        box.start("sleep", "100", hooks=failing)
    assert not (box.bundle() / "state").exists()


def test_a_hook_that_takes_too_long(box: Box) -> None:
    slow = Hooks(prestart=(Hook(path="/bin/sleep", args=("sleep", "50"), timeout=1),))
    with pytest.raises(Exception, match="the hook /bin/sleep took longer than 1 s"):
        box.start("true", hooks=slow)


# --- user namespaces ---


def test_a_user_namespace(box: Box) -> None:
    mappings = (IdMapping(container_id=0, host_id=200_000, size=65_536),)
    kinds = ("user", "mount", "pid", "ipc", "uts", "network", "cgroup")
    spec = box.spec(
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; touch /data/mine && stat -c %u /data/mine; stat -c %t:%T "
        "/dev/null",
        linux_namespaces=tuple(LinuxNamespace(type=kind) for kind in kinds),
        linux_uid_mappings=mappings,
        linux_gid_mappings=mappings,
    )
    request = box.request(spec, log=LogSettings(driver="local", path=str(box.directory / "log")))
    bundle = box.bundle()
    for path in (*box.layer.parents, box.directory, *box.directory.parents):
        if path.stat().st_mode & 0o011 != 0o011:
            path.chmod(path.stat().st_mode | 0o011)
    process = box.keep(box.runtime.start(request))
    assert wait(process).code == 0
    lines = b"".join(r.data for r in LogReader(request.log).read()).decode().split("\n")
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "200000", "65536"]
    assert lines[2:4] == ["0", "1:3"]
    assert os.stat(bundle / "upper/data/mine").st_uid == 0  # layers keep the container's ids
