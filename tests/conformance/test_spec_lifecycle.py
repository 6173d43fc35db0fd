"""runtime.md: operations and states, hooks and their order, and the commands for what runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import OTHER, Bundles, Config, base_config, eventually
from tests.patience import patience

pytestmark = pytest.mark.root

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def test_a_life(oci: Bundles) -> None:
    name = oci.create("sh", "-c", "echo began; exec sleep 100")
    created = oci.state(name)
    assert (created["status"], created["id"]) == ("created", name)
    assert created["bundle"] == str(oci.directory / name)
    assert os.path.isdir(f"/proc/{created['pid']}")
    assert oci.output(name) == ""
    oci.call("start", name)
    eventually(lambda: oci.output(name) == "began\n")
    assert oci.state(name)["status"] == "running"
    oci.call("kill", name, "KILL")
    oci.await_status(name, "stopped")
    oci.call("delete", name)
    assert oci.call("state", name, check=False).returncode != 0


def refused(oci: Bundles, *args: str) -> bool:
    done = oci.call(*args, check=False)
    return done.returncode != 0 and bool(done.stderr)


def test_what_a_state_does_not_allow_is_an_error(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    where = str(oci.directory / name)
    assert refused(oci, "start", name)
    assert refused(oci, "create", "--bundle", where, name)
    assert refused(oci, "delete", name)
    assert oci.state(name)["status"] == "running"
    oci.call("kill", name, "9")
    oci.await_status(name, "stopped")
    assert refused(oci, "kill", name, "TERM")
    assert refused(oci, "start", name)
    assert refused(oci, "exec", name, "true")


@pytest.mark.parametrize("args", [("start",), ("kill",), ("delete",), ("state",), ("pause",)])
def test_what_does_not_exist_is_an_error(oci: Bundles, args: tuple[str, ...]) -> None:
    assert refused(oci, *args, "nosuch")


def test_a_created_container_can_be_deleted_by_force(oci: Bundles) -> None:
    name = oci.create("sleep", "100")
    oci.call("delete", "--force", name)
    assert refused(oci, "state", name)


def test_delete_by_force_of_what_is_gone_is_no_error(oci: Bundles) -> None:
    assert oci.call("delete", "--force", "nosuch", check=False).returncode == 0


def test_signals_by_name_and_number(oci: Bundles) -> None:
    script = "trap 'echo usr1' USR1; trap 'echo usr2' USR2; echo ready; "
    name = oci.start("sh", "-c", script + "while true; do sleep 0.05; done")
    eventually(lambda: oci.output(name) == "ready\n")
    oci.call("kill", name, "SIGUSR1")
    eventually(lambda: "usr1" in oci.output(name))
    oci.call("kill", name, str(int(signal.SIGUSR2)))
    eventually(lambda: "usr2" in oci.output(name))


def test_kill_of_all_processes(oci: Bundles) -> None:
    def shared(config: Config) -> None:
        kept = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
        config["linux"]["namespaces"] = kept

    name = oci.start("sh", "-c", "sleep 100 & sleep 100 & echo $!; wait", edit=shared)
    eventually(lambda: oci.output(name) != "")
    other = int(oci.output(name))
    oci.call("kill", "--all", name, "KILL")
    oci.await_status(name, "stopped")
    eventually(lambda: not os.path.exists(f"/proc/{other}"))


def noting(log: Path, name: str, *more: str) -> Config:
    """A hook that writes its name and the state's status."""
    script = f"read state; echo {name} $state >>{log}; {';'.join(more)}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def test_hooks_in_their_order_with_the_state(oci: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()

    def edit(config: Config) -> None:
        config["hooks"] = {name: [noting(log, name)] for name in HOOKS}
        # Run inside the container, where the log is another file.
        config["hooks"]["startContainer"] = [
            {"path": "/bin/sh", "args": ["sh", "-c", "cat >/data/start-container"]}
        ]

    done = oci.run("cat", "/data/start-container", edit=edit)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"].startswith(oci.prefix)
    entries = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [name for name, _ in entries] == [name for name in HOOKS if name != "startContainer"]
    states = {name: json.loads(text) for name, text in entries}
    assert states["poststop"]["status"] == "stopped"
    # runc 1.1 says that it is only created.
    assert states["poststart"]["status"] == ("created" if OTHER else "running")
    assert {states[name]["status"] for name in HOOKS[:3]} <= {"creating", "created"}
    assert len({state["id"] for state in states.values()}) == 1


def test_a_hook_on_the_way_into_a_container_is_run_in_its_root(oci: Bundles) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo from a hook >./data/made"]}
    done = oci.run(
        "cat", "/data/made", edit=lambda config: config.update(hooks={"createContainer": [hook]})
    )
    assert (done.returncode, done.stdout) == (0, "from a hook\n")


def test_a_hook_that_fails_stops_the_creation(oci: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def edit(config: Config) -> None:
        config["hooks"] = {"createRuntime": [noting(log, "failing", "exit 1")]}

    assert oci.run("echo", "ran", edit=edit).stdout == ""
    assert refused(oci, "state", oci.names[-1])


def test_a_hook_out_of_time_stops_the_creation(oci: Bundles) -> None:
    hook = {"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}
    done = oci.run("true", edit=lambda config: config.update(hooks={"createRuntime": [hook]}))
    assert done.returncode != 0


def test_a_hook_has_the_path_of_the_runtimes_caller(oci: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $PATH >>{log}"]}
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    done = oci.run("true", edit=lambda config: config.update(hooks={k: [hook] for k in kinds}))
    assert done.returncode == 0
    assert set(log.read_text().splitlines()) == {os.environ["PATH"]}


def test_a_last_hook_that_fails_changes_nothing(oci: Bundles, tmp_path: Path) -> None:
    """runtime.md, "Lifecycle" 13, which runc does not keep to: it leaves out the hooks after it."""
    if OTHER:
        pytest.skip("with runc 1.1 the hooks after it are left out, and the command fails")
    log = tmp_path / "log"
    hooks = [noting(log, "first", "exit 1"), noting(log, "second")]
    done = oci.run("echo", "ran", edit=lambda config: config.update(hooks={"poststop": hooks}))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "error running poststop hook #0" in done.stderr
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["first", "second"]


def test_a_container_whose_hook_after_the_start_fails_is_removed(
    oci: Bundles, tmp_path: Path
) -> None:
    """runtime.md, "Lifecycle" 9. runc 1.1 runs these hooks while it creates."""
    hook = noting(tmp_path / "log", "failing", "exit 1")
    config = base_config("sleep", "100")
    config["hooks"] = {"poststart": [hook]}
    name, where = oci.bundle(config)
    done = oci.call("run", "--detach", "--bundle", str(where), name, check=False)
    assert done.returncode == 1
    assert "hook #0" in done.stderr
    assert refused(oci, "state", name)


def test_exec(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    done = oci.call("exec", "--env", "A=b", "--cwd", "/data", name, "sh", "-c", "echo $A; pwd")
    assert done.stdout == "b\n/data\n"
    assert oci.call("exec", name, "sh", "-c", "exit 9", check=False).returncode == 9
    user = oci.call("exec", "--user", "7:8", "-g", "9", name, "id").stdout
    assert user.startswith("uid=7 gid=8")
    assert "9" in user.partition("groups=")[2]


def test_exec_of_a_process_from_a_file(oci: Bundles, tmp_path: Path) -> None:
    name = oci.start("sleep", "100")
    process = {"args": ["sh", "-c", "echo $A; pwd"], "cwd": "/tmp", "env": ["PATH=/bin", "A=b"]}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process | {"user": {"uid": 0, "gid": 0}}))
    assert oci.call("exec", "--process", str(file), name).stdout == "b\n/tmp\n"


def test_exec_with_one_capability_more(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    more = oci.call("exec", "--cap", "CAP_NET_RAW", name, "cat", "/proc/self/status").stdout
    assert int(more.split("CapBnd:\t")[1].split()[0], 16) >> 13 & 1
    less = oci.call("exec", "--no-new-privs", name, "cat", "/proc/self/status").stdout
    assert "NoNewPrivs:\t1" in less


def test_pause_and_resume(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    assert refused(oci, "resume", name)
    oci.call("pause", name)
    assert oci.state(name)["status"] == "paused"
    assert refused(oci, "exec", name, "true")
    assert refused(oci, "delete", name)
    oci.call("resume", name)
    assert oci.state(name)["status"] == "running"
    assert oci.call("exec", name, "echo", "on").stdout == "on\n"


def test_a_paused_container_can_be_killed(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    oci.call("pause", name)
    oci.call("kill", name, "KILL")
    oci.await_status(name, "stopped")


def test_processes(oci: Bundles) -> None:
    name = oci.start("sh", "-c", "sleep 1000 & wait")
    eventually(lambda: len(_pids(oci, name)) == 2)
    assert oci.state(name)["pid"] in _pids(oci, name)
    lines = oci.call("ps", name).stdout.splitlines()
    assert "PID" in lines[0]
    assert len(lines) == 3
    assert any("sleep 1000" in line for line in lines)


def _pids(oci: Bundles, name: str) -> list[int]:
    found: list[int] = json.loads(oci.call("ps", "--format", "json", name).stdout)
    return found


def test_update_by_options_and_by_a_file(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    oci.call("update", "--pids-limit", "44", name)
    assert _figures(oci, name)["pids"]["limit"] == 44
    limits = json.dumps({"pids": {"limit": 55}})
    oci.call("update", "--resources", "-", name, input=limits)
    assert _figures(oci, name)["pids"]["limit"] == 55
    oci.call("update", "--memory", "64m", name)
    assert _figures(oci, name)["memory"]["usage"]["limit"] == 64 << 20


def _figures(oci: Bundles, name: str) -> dict[str, Any]:
    event = json.loads(oci.call("events", "--stats", name).stdout)
    assert (event["type"], event["id"]) == ("stats", name)
    data: dict[str, Any] = event["data"]
    return data


def test_figures(oci: Bundles) -> None:
    figures = _figures(oci, oci.start("sleep", "100"))
    assert figures["cpu"]["usage"]["total"] > 0
    assert figures["pids"]["current"] == 1
    assert figures["memory"]["usage"]["usage"] > 0


@pytest.mark.skipif(bool(OTHER), reason="runc prints figures forever after a container's end")
def test_events_end_with_the_container(oci: Bundles, tmp_path: Path) -> None:
    name = oci.start("sh", "-c", "while true; do sleep 0.05; done")
    command = (*oci.command(), "events", "--interval", "100ms", name)
    with subprocess.Popen(command, stdout=-1, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["type"] == "stats"
        oci.call("kill", name, "KILL")
        assert watching.wait(patience(20)) == 0


@pytest.mark.skipif(bool(OTHER), reason="runc uses systemd and CRIU if it is told to")
@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("checkpoint", "--image-path", "/tmp/x", "x"), "checkpoint is not supported"),
        (("restore", "x"), "restore is not supported"),
        (("update", "--memory", "much", "x"), "'much' is not a size"),
        (("events", "--interval", "0s", "x"), "does not exist"),
    ],
)
def test_refusals_are_clear(oci: Bundles, args: tuple[str, ...], text: str) -> None:
    done = oci.call(*args, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert text in done.stderr


def test_out_of_memory_is_an_event(oci: Bundles) -> None:
    script = "until [ -e /data/go ]; do sleep 0.05; done; dd if=/dev/zero of=/dev/null bs=200M"

    def limited(config: Config) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}

    name = oci.start("sh", "-c", f"{script}; sleep 1000", edit=limited)
    command = (*oci.command(), "events", "--interval", "100ms", name)
    with subprocess.Popen(command, stdout=-1, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["type"] == "stats"
        (oci.directory / name / "rootfs/data/go").touch()
        kinds = (json.loads(line)["type"] for line in watching.stdout)
        assert "oom" in kinds
        oci.call("kill", name, "KILL")
        watching.kill()
