"""config-linux.md: namespaces, devices, control groups, sysctl, masked and read-only paths."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import OTHER, Bundles, Config

pytestmark = pytest.mark.root

Edit = Callable[[Config], object]
KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt"}
V1 = Path("/sys/fs/cgroup/memory").is_dir()


def linux(**changes: Any) -> Edit:
    return lambda config: config["linux"].update(changes)


def resources(**changes: Any) -> Edit:
    return lambda config: config["linux"]["resources"].update(changes)


def with_namespace(kind: str, path: str | None) -> Edit:
    """Join the namespace of ``path``, or leave it out of the list."""

    def edit(config: Config) -> None:
        others = [one for one in config["linux"]["namespaces"] if one["type"] != kind]
        joined = [{"type": kind, "path": path}] if path else []
        config["linux"]["namespaces"] = others + joined
        if kind == "uts":
            config.pop("hostname")

    return edit


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The pid of a process with namespaces of its own."""
    with subprocess.Popen(
        ["unshare", "-niu", "sh", "-c", "echo ready; exec cat"], stdin=-1, stdout=-1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_namespace(oci: Bundles, kind: str) -> None:
    name = KINDS[kind]
    mine = os.readlink(f"/proc/self/ns/{name}")
    assert oci.lines("readlink", f"/proc/self/ns/{name}") != [mine]


@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_a_namespace_that_is_joined(oci: Bundles, neighbour: int, kind: str) -> None:
    path = f"/proc/{neighbour}/ns/{KINDS[kind]}"
    lines = oci.lines("readlink", f"/proc/self/ns/{KINDS[kind]}", edit=with_namespace(kind, path))
    assert lines == [os.readlink(path)]


@pytest.mark.parametrize("kind", ["ipc", "uts"])
def test_a_namespace_that_is_not_listed_is_shared(oci: Bundles, kind: str) -> None:
    name = KINDS[kind]
    lines = oci.lines("readlink", f"/proc/self/ns/{name}", edit=with_namespace(kind, None))
    assert lines == [os.readlink(f"/proc/self/ns/{name}")]


@pytest.mark.parametrize("bad", [{"type": "nosuch"}, {"type": "ipc"}])
def test_a_bad_namespace_is_refused(oci: Bundles, bad: Config) -> None:
    # The second is in the list already.
    done = oci.run("true", edit=lambda config: config["linux"]["namespaces"].append(bad))
    assert done.returncode != 0


def test_ids_are_mapped_in_a_user_namespace(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        one = {"containerID": 0, "hostID": 100000, "size": 1000}
        config["linux"].update(uidMappings=[one], gidMappings=[one])
        config["mounts"] = config["mounts"][:2]

    for directory in (oci.directory, *oci.directory.parents):
        if str(directory) != "/" and not os.stat(directory).st_mode & 0o001:
            os.chmod(directory, os.stat(directory).st_mode & 0o777 | 0o011)
    lines = oci.lines("cat", "/proc/self/uid_map", "/proc/self/gid_map", edit=edit)
    assert [line.split() for line in lines] == [["0", "100000", "1000"]] * 2


def test_host_name(oci: Bundles) -> None:
    assert oci.lines("hostname") == ["box"]


def test_default_devices_and_links(oci: Bundles) -> None:
    names = "null zero full random urandom tty"
    lines = oci.lines(
        "sh", "-c", f"cd /dev; stat -c '%F %t:%T %a' {names}; readlink fd; readlink ptmx"
    )
    numbers = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]
    assert lines[:6] == [f"character special file {number} 666" for number in numbers]
    assert lines[6] == "/proc/self/fd"
    assert lines[7] in ("pts/ptmx", "/dev/pts/ptmx")


def test_a_device_that_is_asked_for(oci: Bundles) -> None:
    device = {
        "path": "/dev/mine",
        "type": "c",
        "major": 1,
        "minor": 5,
        "fileMode": 0o640,
        "uid": 3,
        "gid": 4,
    }
    lines = oci.lines("stat", "-c", "%F %t:%T %a %u %g", "/dev/mine", edit=linux(devices=[device]))
    assert lines == ["character special file 1:5 640 3 4"]


def test_device_rules(oci: Bundles) -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": False, "type": "c", "major": 1, "minor": 7, "access": "rwm"},
    ]
    node = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}

    def edit(config: Config) -> None:
        config["linux"].update(devices=[node])
        config["linux"]["resources"]["devices"] = rules

    done = oci.run("sh", "-c", "echo x >/dev/null && echo fine; : </dev/kmsg", edit=edit)
    assert done.stdout == "fine\n"
    assert "Operation not permitted" in done.stderr


def group_file(oci: Bundles, name: str, old: str, new: str) -> str:
    """A file of the container's group, by its name in version 1 and in 2."""
    controller = old.partition(".")[0]
    group = f"{oci.prefix}/{name}"
    if V1:
        return Path(f"/sys/fs/cgroup/{controller}/{group}/{old}").read_text().strip()
    return Path(f"/sys/fs/cgroup/{group}/{new}").read_text().strip()


LIMITS = [
    ({"memory": {"limit": 64 << 20}}, "memory.limit_in_bytes", "memory.max", {str(64 << 20)}),
    ({"pids": {"limit": 33}}, "pids.max", "pids.max", {"33"}),
    ({"cpu": {"shares": 512}}, "cpu.shares", "cpu.weight", {"512", "20", "59"}),
    ({"cpu": {"quota": 20000, "period": 100000}}, "cpu.cfs_quota_us", "cpu.max",
     {"20000", "20000 100000"}),
    ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "cpuset.cpus", {"0"}),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "old", "new", "expected"), LIMITS)
def test_limits(oci: Bundles, limits: Config, old: str, new: str, expected: set[str]) -> None:
    name = oci.create("sleep", "100", edit=resources(**limits))
    assert group_file(oci, name, old, new) in expected


def test_the_limit_of_processes_holds(oci: Bundles) -> None:
    done = oci.run(
        "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & wait", edit=resources(pids={"limit": 2})
    )
    assert "Resource temporarily unavailable" in done.stderr or "can't fork" in done.stderr


def test_sysctl(oci: Bundles) -> None:
    wanted = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}
    files = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax")
    assert oci.lines("cat", *files, edit=linux(sysctl=wanted)) == ["1", "4096"]


def test_a_sysctl_of_the_whole_machine_is_refused(oci: Bundles) -> None:
    before = Path("/proc/sys/kernel/pid_max").read_text()
    done = oci.run("true", edit=linux(sysctl={"kernel.pid_max": "1234567"}))
    assert done.returncode != 0
    assert Path("/proc/sys/kernel/pid_max").read_text() == before


def test_masked_paths(oci: Bundles) -> None:
    masked = ["/proc/cpuinfo", "/data", "/nosuch"]
    script = "wc -c </proc/cpuinfo; ls /data | wc -l; touch /data/new"
    done = oci.run("sh", "-c", script, edit=linux(maskedPaths=masked))
    assert done.stdout.split() == ["0", "0"]
    assert "Read-only file system" in done.stderr


def test_read_only_paths(oci: Bundles) -> None:
    script = "cat /data/file; touch /data/new"
    done = oci.run("sh", "-c", script, edit=linux(readonlyPaths=["/data", "/nosuch"]))
    assert done.stdout == "from the image\n"
    assert "Read-only file system" in done.stderr


def test_a_system_call_filter(oci: Bundles) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    done = oci.run("mkdir", "/new", edit=linux(seccomp=profile))
    assert "No space left on device" in done.stderr


def test_personality(oci: Bundles) -> None:
    if OTHER:
        pytest.skip("runc 1.1 has no personality")
    edit = linux(personality={"domain": "LINUX32"})
    assert oci.lines("uname", "-m", edit=edit) in (["i686"], ["armv8l"])


@pytest.mark.skipif(bool(OTHER), reason="runc makes it below its own, and leaves its parent there")
def test_a_path_of_a_control_group_may_be_relative(oci: Bundles) -> None:
    name = oci.start("sleep", "100", edit=linux(cgroupsPath=f"{oci.prefix}/relative"))
    groups = Path(f"/proc/{oci.state(name)['pid']}/cgroup").read_text().splitlines()
    assert any(line.endswith(f"/{oci.prefix}/relative") for line in groups)


@pytest.mark.skipif(not V1, reason="there is one hierarchy")
def test_a_control_group_that_is_in_one_hierarchy_already(oci: Bundles) -> None:
    path = f"{oci.prefix}/half"
    Path(f"/sys/fs/cgroup/cpu/{path}").mkdir(parents=True)
    assert oci.lines("echo", "hi", edit=linux(cgroupsPath=f"/{path}")) == ["hi"]
