"""The unmodified docker command line does its daily work on a real daemon."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

pytestmark = pytest.mark.root

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sleeper(cli: Cli) -> Iterator[str]:
    """A container that runs until it is removed."""
    done = cli("run", "-d", "--network", "none", "busybox", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()
    cli("rm", "-f", done.stdout.strip())


@pytest.mark.parametrize(
    ("arguments", "stdin", "stdout", "stderr", "code"),
    [
        (["busybox", "echo", "hi"], None, "hi\n", "", 0),
        (["busybox", "sh", "-c", "echo out; echo err >&2; exit 7"], None, "out\n", "err\n", 7),
        (["-i", "busybox", "cat"], "typed", "typed", "", 0),
        (["-i", "busybox", "head", "-c", "3"], "x" * 1_000_000, "xxx", "", 0),
        (
            ["-e", "A=b", "-w", "/tmp", "busybox", "sh", "-c", "echo $A $PWD"],
            None,
            "b /tmp\n",
            "",
            0,
        ),
    ],
)
def test_run(
    cli: Cli, arguments: list[str], stdin: str | None, stdout: str, stderr: str, code: int
) -> None:
    done = cli("run", "--rm", "--network", "none", *arguments, input=stdin)
    assert (done.stdout, done.stderr, done.returncode) == (stdout, stderr, code)


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [("nosuch", "executable file not found in $PATH", 127), ("/etc", "is a directory", 126)],
)
def test_what_cannot_be_run(cli: Cli, command: str, words: str, code: int) -> None:
    done = cli("run", "--rm", "--network", "none", "busybox", command)
    assert done.returncode == code
    assert words in done.stderr


def test_a_large_output_arrives_whole(cli: Cli) -> None:
    done = cli("run", "--rm", "--network", "none", "busybox", "sh", "-c", "seq 200000")
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 200_001))


def test_a_terminal(daemon: Any, cli: Cli) -> None:
    """The size that the command line sends, input, and the exit code."""
    cli("version")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["docker", "-H", daemon.host, "run", "--rm", "-it", "--network", "none", "busybox", "sh"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, b"test -t 0 && echo is-a-$((1+1))-tty; exit 4\n")
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait(patience(30)) == 4
    assert b"is-a-2-tty" in seen


def test_exec(cli: Cli, sleeper: str) -> None:
    assert cli("exec", sleeper, "echo", "hi").stdout == "hi\n"
    assert cli("exec", "-i", sleeper, "cat", input="typed").stdout == "typed"
    done = cli("exec", "-e", "A=b", "-w", "/tmp", sleeper, "sh", "-c", "echo $A $PWD; exit 5")
    assert (done.stdout, done.returncode) == ("b /tmp\n", 5)
    done = cli("exec", sleeper, "nosuch")
    assert "executable file not found" in done.stdout + done.stderr
    assert done.returncode in (126, 127)
    assert cli("exec", "-d", sleeper, "touch", "/made").returncode == 0


def test_looking_at_a_container(cli: Cli, sleeper: str) -> None:
    assert sleeper[:12] in cli("ps").stdout
    assert cli("ps", "-q", "--no-trunc", "--filter", f"id={sleeper}").stdout.strip() == sleeper
    (found,) = json.loads(cli("inspect", sleeper).stdout)
    assert found["State"]["Running"] is True
    assert found["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert "sleep 1000" in cli("top", sleeper).stdout
    assert cli("pause", sleeper).returncode == 0
    assert "(Paused)" in cli("ps").stdout
    assert cli("unpause", sleeper).returncode == 0
    assert cli("rename", sleeper, "renamed").returncode == 0
    assert cli("inspect", "-f", "{{.Name}}", sleeper).stdout == "/renamed\n"
    assert cli("kill", sleeper).returncode == 0
    assert cli("wait", sleeper).stdout == "137\n"


def test_logs(cli: Cli) -> None:
    made = cli(
        "run",
        "-d",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo 1; echo 2 >&2; sleep 0.2; echo 3",
    )
    container = made.stdout.strip()
    try:
        cli("wait", container)
        done = cli("logs", "-f", container)
        assert (done.stdout, done.stderr) == ("1\n3\n", "2\n")
        assert cli("logs", "--tail", "1", container).stdout == "3\n"
        assert cli("logs", "-t", container).stdout.split()[0].endswith("Z")
        assert cli("logs", "--until", "2001-01-01T00:00:00Z", container).stdout == ""
    finally:
        cli("rm", "-f", container)


def test_start_and_attach_again(cli: Cli) -> None:
    made = cli("create", "-i", "--network", "none", "busybox", "cat").stdout.strip()
    try:
        assert cli("start", "-a", "-i", made, input="one").stdout == "one"
        assert cli("start", "-a", "-i", made, input="two", timeout=patience(15)).stdout == "two"
        assert cli("logs", made).stdout == "onetwo"
    finally:
        cli("rm", "-f", made)


def test_images_can_be_named_saved_loaded_and_removed(cli: Cli, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    assert cli("tag", "busybox", "other:1").returncode == 0
    assert cli("save", "-o", str(archive), "other:1").returncode == 0
    assert "Untagged: other:1" in cli("rmi", "other:1").stdout
    assert "Loaded image: other:1" in cli("load", "-i", str(archive)).stdout
    assert cli("run", "--rm", "--network", "none", "other:1", "true").returncode == 0
    assert cli("rmi", "other:1").returncode == 0
    missing = cli("rmi", "other:1")
    assert "No such image: other:1" in missing.stderr


def test_build(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        'FROM busybox\nCOPY a /a\nRUN cat /a > /b\nCMD ["cat", "/b"]\n'
    )
    (tmp_path / "a").write_text("content\n")
    done = cli("build", "--network", "none", "-t", "built", str(tmp_path))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Successfully tagged built:latest" in done.stdout
        assert cli("run", "--rm", "--network", "none", "built").stdout == "content\n"
        assert "Using cache" in cli("build", "--network", "none", str(tmp_path)).stdout
    finally:
        cli("rmi", "built")


def test_a_build_that_fails_says_why(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY nosuch /\n")
    done = cli("build", str(tmp_path))
    assert done.returncode == 1
    assert "COPY failed" in done.stderr
    (tmp_path / "Dockerfile").write_text("NOSUCH\n")
    done = cli("build", str(tmp_path))
    assert done.returncode == 1
    assert "unknown instruction: NOSUCH" in done.stderr


def test_networks_and_volumes(cli: Cli) -> None:
    assert cli("network", "create", "n1").returncode == 0
    assert "n1" in cli("network", "ls").stdout
    assert cli("network", "rm", "n1").stdout == "n1\n"
    assert cli("volume", "create", "v1").stdout == "v1\n"
    command = ("sh", "-c", "echo kept > /v/f")
    assert (
        cli("run", "--rm", "--network", "none", "-v", "v1:/v", "busybox", *command).returncode == 0
    )
    done = cli("run", "--rm", "--network", "none", "-v", "v1:/v:ro", "busybox", "cat", "/v/f")
    assert done.stdout == "kept\n"
    assert cli("volume", "rm", "v1").stdout == "v1\n"
