"""What callers of the command line rely on beside the specification: runc's options and exits."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import OTHER, PATIENCE, Bundles, Config, base_config

pytestmark = pytest.mark.root


@pytest.mark.parametrize("args", [("frobnicate",), ("run", "--nosuch", "x"), ("kill",), ("state",)])
def test_a_malformed_command_line_ends_with_1(oci: Bundles, args: tuple[str, ...]) -> None:
    if OTHER and args == ("frobnicate",):
        pytest.skip("runc prints its help and ends with 3")
    done = oci.call(*args, check=False)
    assert done.returncode == 1
    assert done.stderr


@pytest.mark.parametrize("command", ["run", "list", "checkpoint", "restore"])
def test_every_command_tells_of_itself(oci: Bundles, command: str) -> None:
    """Also those that are refused."""
    told = oci.call(command, "-h").stdout
    assert f" {command} " in told


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 leaves fields that it does not know")
@pytest.mark.parametrize("field", ["intelRdt", "memoryPolicy", "netDevices"])
def test_a_feature_that_is_not_there_is_refused_by_name(oci: Bundles, field: str) -> None:
    done = oci.run("true", edit=lambda config: config["linux"].update({field: {}}))
    assert done.returncode == 1
    assert f"linux.{field} is not supported" in done.stderr


def test_what_state_and_list_tell(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    told = oci.state(name)
    assert told["rootfs"] == str(oci.directory / name / "rootfs")
    assert told["owner"] in ("root", "")  # runc 1.1 leaves out the name of root
    assert told["created"].endswith("Z")
    (listed,) = json.loads(oci.call("list", "--format", "json").stdout)
    assert {key: listed[key] for key in ("id", "pid", "status", "bundle", "rootfs")} == {
        key: told[key] for key in ("id", "pid", "status", "bundle", "rootfs")
    }
    title, row = oci.call("list").stdout.splitlines()
    assert title.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[:3] == [name, str(told["pid"]), "running"]


def test_a_root_that_is_moved_to(oci: Bundles) -> None:
    config = base_config("sh", "-c", "cat /data/file; cat /proc/self/mountinfo")
    name, where = oci.bundle(config)
    done = oci.call("run", "--no-pivot", "--bundle", str(where), name)
    first, *mounts = done.stdout.splitlines()
    assert first == "from the image"
    assert {line.split()[4] for line in mounts} >= {"/", "/proc", "/dev"}
    assert not [line for line in mounts if str(oci.directory) in line.split()[4]]


def test_an_exec_that_cannot_be_ends_with_255(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    done = oci.call("exec", "--pid-file", "/nosuch/pid", name, "true", check=False)
    assert (done.returncode, done.stdout) == (255 if not OTHER else done.returncode, "")
    assert done.returncode != 0


def received(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    return fds[0]


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 has no --pidfd-socket")
@pytest.mark.parametrize("command", ["create", "exec"])
def test_a_pidfd_is_handed_out(oci: Bundles, tmp_path: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        option = ("--pidfd-socket", str(tmp_path / "s"), "--pid-file", str(tmp_path / "pid"))
        if command == "create":
            name, where = oci.bundle(base_config("sleep", "100"))
            oci.call_quietly("create", "--bundle", str(where), *option, name)
        else:
            name = oci.start("sleep", "100")
            oci.call_quietly("exec", "--detach", *option, name, "sleep", "100")
        pidfd = received(listener)
    pid = int((tmp_path / "pid").read_text())
    assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)


def test_a_created_container_ends_by_a_signal(oci: Bundles) -> None:
    name = oci.create("sleep", "100")
    oci.call("kill", name, "TERM")
    oci.await_status(name, "stopped")


@pytest.mark.parametrize("asked", ["..", "whaaat:/", "memory:../x"])
def test_control_groups_that_an_exec_may_not_have(oci: Bundles, asked: str) -> None:
    name = oci.start("sleep", "100")
    done = oci.call("exec", "--cgroup", asked, name, "true", check=False)
    assert done.returncode != 0
    assert done.stderr


def test_a_control_group_below_for_an_exec(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    v1 = Path("/sys/fs/cgroup/memory")
    own = f"{oci.prefix}/{name}"
    group = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / own / "below"
    group.mkdir()
    asked = "memory:below" if v1.is_dir() else "below"
    lines = oci.call("exec", "--cgroup", asked, name, "cat", "/proc/self/cgroup").stdout
    assert "/below\n" in lines


def capabilities(config: Config) -> None:
    sets: dict[str, Any] = config["process"]["capabilities"]
    for names in sets.values():
        names.append("CAP_OF_TOMORROW")


def test_a_capability_that_is_not_known_is_a_warning(oci: Bundles) -> None:
    done = oci.run("true", edit=capabilities)
    assert done.returncode == 0
    assert "CAP_OF_TOMORROW" in done.stderr


def test_of_several_values_of_a_variable_the_last_counts(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        config["process"]["env"] = ["PATH=/bin", "A=1", "HOME=/there", "A=2"]

    assert sorted(oci.lines("env", edit=edit)) == ["A=2", "HOME=/there", "PATH=/bin"]


def test_a_start_hook_has_the_environment_of_the_process(oci: Bundles) -> None:
    script = "echo $FOO >/tmp/hook"

    def edit(config: Config) -> None:
        config["process"]["env"].append("FOO=bar")
        config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}

    assert oci.lines("cat", "/tmp/hook", edit=edit) == ["bar"]


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 thaws it")
def test_a_control_group_that_is_frozen_is_refused(oci: Bundles) -> None:
    v1 = Path("/sys/fs/cgroup/freezer")
    config = base_config("true")
    name, where = oci.bundle(config)
    group = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / oci.prefix / name
    group.mkdir(parents=True)
    switch = group / ("freezer.state" if v1.is_dir() else "cgroup.freeze")
    switch.write_text("FROZEN" if v1.is_dir() else "1")
    done = oci.call("run", "--bundle", str(where), name, check=False)
    group.rmdir()
    assert done.returncode == 1
    assert "unexpectedly frozen" in done.stderr


def test_debugging_leaves_a_line_in_the_log(oci: Bundles, tmp_path: Path) -> None:
    name = oci.start("sleep", "100")
    log = tmp_path / "log"
    oci.call("--debug", "--log", str(log), "--log-format", "json", "exec", name, "true")
    assert json.loads(log.read_text().splitlines()[0])["level"] == "debug"
