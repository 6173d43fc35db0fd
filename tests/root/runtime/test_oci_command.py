"""The OCI command line, as an engine or a person calls it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import eventually

pytestmark = pytest.mark.root

COMMAND = (sys.executable, "-m", "wherry.runtime")
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bundle(tmp_path: Path, layer: Path, run_id: str) -> Path:
    """A bundle with the default configuration and no terminal."""
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "rootfs").mkdir()
    subprocess.run(["cp", "-a", f"{layer}/.", f"{made}/rootfs/"], check=True)
    command("spec", "--bundle", str(made))
    change(made, terminal=False)
    return made


def change(bundle: Path, *args: str, **process: Any) -> None:
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"].update(process)
    config["root"]["readonly"] = False
    config["linux"]["cgroupsPath"] = f"/{bundle.parent.name}-{os.environ['WHERRY_TEST_RUN']}"
    if args:
        config["process"]["args"] = args
    path.write_text(json.dumps(config))


def command(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        check=options.pop("check", True),
        text=True,
        timeout=patience(60),
        capture_output=True,
        **options,
    )


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """Calls the command with a root of its own; removes every container afterwards."""
    root = str(tmp_path / "root")

    def invoke(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return command("--root", root, *args, **options)

    yield invoke
    for name in invoke("list", "-q", check=False).stdout.split():  # none may have been made
        invoke("delete", "--force", name)


def state(call: Call, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("state", name).stdout)
    return found


def test_run_gives_output_and_status(call: Call, bundle: Path) -> None:
    change(bundle, "sh", "-c", "echo hi; exit 5")
    done = call("run", "--bundle", str(bundle), "one", check=False)
    assert (done.stdout, done.returncode) == ("hi\n", 5)
    assert call("list", "-q").stdout == ""


def create(tmp_path: Path, bundle: Path, name: str, *options: str) -> None:
    """Create without pipes, which the container would hold open."""
    with (tmp_path / "output").open("w") as output:
        root, where = str(tmp_path / "root"), str(bundle)
        subprocess.run(
            [*COMMAND, "--root", root, "create", "--bundle", where, *options, name],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=patience(60),
        )


def test_a_life_in_steps(call: Call, bundle: Path, tmp_path: Path) -> None:
    change(bundle, "sh", "-c", "touch /ran; exec sleep 100")
    pid_file = tmp_path / "pid"
    create(tmp_path, bundle, "two", "--pid-file", str(pid_file))
    created = state(call, "two")
    assert (created["status"], created["pid"]) == ("created", int(pid_file.read_text()))
    assert created["bundle"] == str(bundle)
    assert not (bundle / "rootfs/ran").exists()
    call("start", "two")
    eventually((bundle / "rootfs/ran").exists)
    assert state(call, "two")["status"] == "running"
    assert call("exec", "two", "sh", "-c", "ps | grep -c '[s]leep 100'").stdout == "1\n"
    assert call("exec", "two", "sh", "-c", "exit 3", check=False).returncode == 3
    assert "is not stopped" in call("delete", "two", check=False).stderr
    call("kill", "two", "KILL")
    eventually(lambda: state(call, "two")["status"] == "stopped")
    call("delete", "two")
    gone = call("state", "two", check=False)
    assert (gone.returncode, gone.stderr) == (
        1,
        "wherry-runtime: container 'two' does not exist\n",
    )


def test_a_console_socket_gets_the_terminal(call: Call, bundle: Path, tmp_path: Path) -> None:
    change(bundle, "sh", "-c", "tty; read x; echo got $x", terminal=True)
    path = str(tmp_path / "console.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        call("run", "--detach", "--console-socket", path, "--bundle", str(bundle), "three")
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    with open(fds[0], "r+b", buffering=0) as master:
        master.write(b"word\n")
        text = b""
        while b"got word" not in text:
            text += master.read(100)
    assert b"/dev/pts/0" in text


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["start", "nosuch"], "container 'nosuch' does not exist"),
        (["state", "../up"], "the container id '../up' is malformed"),
        (["kill", "nosuch", "SIGNO"], "unknown signal 'SIGNO'"),
        (["create", "--bundle", "/nosuch", "x"], "cannot read /nosuch/config.json"),
    ],
)
def test_errors_are_one_sentence_and_logged(
    call: Call, tmp_path: Path, args: list[str], text: str
) -> None:
    log = tmp_path / "log"
    done = call("--log", str(log), "--log-format", "json", *args, check=False)
    assert done.returncode == 1
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert text in json.loads(log.read_text())["msg"]


def test_a_program_that_is_missing_leaves_nothing(call: Call, bundle: Path) -> None:
    change(bundle, "nosuch")
    done = call("create", "--bundle", str(bundle), "five", check=False)
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr
    assert call("list", "-q").stdout == ""


def test_an_id_is_taken_once(call: Call, bundle: Path, tmp_path: Path) -> None:
    create(tmp_path, bundle, "six")
    again = call("create", "--bundle", str(bundle), "six", check=False)
    assert "a container with the id 'six' exists already" in again.stderr


def test_version_and_features(call: Call) -> None:
    assert "spec: 1.2.0" in call("--version").stdout
    assert json.loads(call("features").stdout)["ociVersionMax"] == "1.2.0"
