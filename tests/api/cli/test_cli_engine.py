"""The command line and the library against a real engine, in a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.patience import patience

from wherry.client import Client, CommandFailed
from wherry.daemon.wiring import open_engine
from wherry.engine.settings import EngineSettings
from wherry.errors import Conflict, NotFound, Unavailable

pytestmark = pytest.mark.root
_PATIENCE = patience(30.0)  # seconds


@dataclass(frozen=True)
class Cli:
    """Runs ``wherry`` against the engine of the tests."""

    host: str

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "wherry.cli", "-H", self.host, *words]
        return subprocess.run(
            command, input=stdin, capture_output=True, timeout=_PATIENCE, check=False
        )

    def text(self, *words: str, stdin: bytes = b"") -> str:
        """The output of a command that must succeed."""
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    root = tmp_path_factory.mktemp("cli")
    made = Cli(f"unix://{root}/s")
    command = [sys.executable, "-m", "wherry.daemon", "-H", made.host]
    places = [f"--data-root={root}/data", f"--exec-root={root}/exec", f"--pidfile={root}/pid"]
    with (root / "log").open("wb") as log:
        engine = subprocess.Popen([*command, *places], stderr=log)
    try:
        _wait_for(made.host, engine, root / "log")
        made.text("bootstrap", "-q", "busybox")
        yield made
    finally:
        engine.terminate()
        assert engine.wait(_PATIENCE) == 0
        _purge(EngineSettings(data_root=f"{root}/data", exec_root=f"{root}/exec"))


def _purge(settings: EngineSettings) -> None:
    """Take away the bridge, the filter and the control groups that an engine leaves for the next
    one."""
    engine = open_engine(settings)
    engine.networks.purge()
    engine.close()
    for group in Path("/sys/fs/cgroup").glob(f"**/wherry-{settings.instance}"):
        group.rmdir()


def _wait_for(host: str, engine: subprocess.Popen[bytes], log: Path) -> None:
    with Client(host) as client:
        while True:
            try:
                client.ping()
                return
            except Unavailable:
                assert engine.poll() is None, log.read_text()
                time.sleep(0.02)  # nothing announces a socket


@pytest.fixture
def client(cli: Cli) -> Iterator[Client]:
    with Client(cli.host, timeout=_PATIENCE) as made:
        yield made


RUN = ("run", "--rm", "--network", "none")


def test_run(cli: Cli) -> None:
    done = cli(*RUN, "busybox", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert cli.text("ps", "-aq") == ""


def test_input_has_an_end(cli: Cli) -> None:
    data = os.urandom(1_000_000)
    assert cli(*RUN, "-i", "busybox", "cat", stdin=data).stdout == data


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/etc", 126)])
def test_what_cannot_be_started(cli: Cli, command: str, code: int) -> None:
    done = cli(*RUN, "busybox", command)
    assert done.returncode == code
    assert command in done.stderr.decode()
    assert cli.text("ps", "-aq") == ""


@pytest.fixture
def _no_life(cli: Cli) -> Iterator[None]:
    yield
    cli("rm", "-f", "life", "after")


@pytest.mark.usefixtures("_no_life")
def test_a_life(cli: Cli) -> None:
    identifier = cli.text(
        "run", "-d", "--name", "life", "--network", "none", "-e", "A=b", "-l", "x=y",
        "busybox", "sh", "-c", "echo started; sleep 1000",
    )  # fmt: skip
    assert cli.text("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}") == f"{identifier} life"
    assert cli.text("exec", "life", "sh", "-c", "echo $A") == "b"
    assert cli("exec", "life", "sh", "-c", "exit 5").returncode == 5
    assert cli("exec", "life", "nosuch").returncode in (126, 127)  # Docker's versions differ
    assert cli.text("logs", "life") == "started"
    assert cli.text("inspect", "-f", "{{.State.Status}} {{.Config.Labels.x}}", "life") == (
        "running y"
    )
    assert "sleep 1000" in cli.text("top", "life")
    assert cli.text("stop", "-t", "0", "life") == "life"
    assert cli.text("wait", "life") == "137"
    assert cli.text("rename", "life", "after") == ""
    assert cli.text("rm", "after") == "after"
    assert cli("inspect", "after").returncode == 1


def test_signals_reach_the_container(cli: Cli) -> None:
    script = "trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, "-m", "wherry.cli", "-H", cli.host, *RUN, "busybox"]
    with subprocess.Popen([*command, "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 9


def test_a_terminal(cli: Cli) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(slave)
    command = [sys.executable, "-m", "wherry.cli", "-H", cli.host, *RUN, "-it", "busybox", "sh"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    try:
        _read_until(master, b"# ")
        os.write(master, b"stty size; exit 7\n")
        assert b"33 77" in _read_until(master, b"33 77")
        assert process.wait(_PATIENCE) == 7
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def _read_until(descriptor: int, text: bytes) -> bytes:
    deadline, got = time.monotonic() + _PATIENCE, b""
    while text not in got:
        left = deadline - time.monotonic()
        assert select.select([descriptor], [], [], max(0.0, left))[0], got
        got += os.read(descriptor, 4096)
    return got


def test_build_save_load(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c/sub").mkdir(parents=True)
    (tmp_path / "c/Dockerfile").write_text(
        "FROM busybox\nARG NAME\nLABEL name=$NAME\nCOPY . /app/\nWORKDIR /app\n"
    )
    (tmp_path / "c/.dockerignore").write_text("*.log\n")
    (tmp_path / "c/a.txt").write_text("content")
    (tmp_path / "c/noise.log").write_text("noise")
    image = cli.text("build", "-q", "-t", "app", "--build-arg", "NAME=n", str(tmp_path / "c"))
    assert image.startswith("sha256:")
    listed = cli.text(*RUN, "app", "ls")
    assert "a.txt" in listed
    assert "noise.log" not in listed
    assert cli.text("inspect", "-f", '{{index .Config.Labels "name"}}', "app") == "n"
    archive = tmp_path / "app.tar"
    cli.text("save", "-o", str(archive), "app")
    cli.text("rmi", "app")
    assert "Loaded image: app:latest" in cli.text("load", "-i", str(archive))
    assert cli.text("images", "-q", "--no-trunc", "app") == image
    cli.text("rmi", "app")


_TREE = (
    "mkdir -p /t/d && cd /t && echo hi > d/f && ln d/f d/hard && ln -s /etc/passwd d/absolute "
    "&& ln -s f d/relative && chmod 4751 d/f && touch -d '2001-02-03 04:05:06' d/f d && chown 7 d/f"
)


def test_copies(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--name", "copied", "busybox", "sh", "-c", _TREE)
    try:
        cli.text("cp", "copied:/t/d", str(tmp_path / "out"))
        _check_copy(tmp_path / "out", os.geteuid())
        (tmp_path / "there").mkdir()
        cli.text("cp", "-a", "copied:/t", str(tmp_path / "there"))
        _check_copy(tmp_path / "there/t/d", 7)
        cli.text("cp", "copied:/t/d/.", str(tmp_path / "contents"))
        _check_copy(tmp_path / "contents", os.geteuid())
        cli.text("cp", f"{tmp_path}/out", "copied:/back")
        assert b"hi" in cli("cp", "copied:/back/f", "-").stdout
        refused = cli("cp", "copied:/t/d", str(tmp_path / "out/f"))
        assert (refused.returncode, refused.stderr.count(b"\n")) == (1, 1)
    finally:
        cli.text("rm", "copied")


def _check_copy(made: Path, owner: int) -> None:
    status = (made / "f").stat()
    assert (made / "f").read_text() == "hi\n"
    assert (status.st_mode & 0o7777, status.st_uid, status.st_nlink) == (0o751, owner, 2)
    assert int(status.st_mtime) == int(made.stat().st_mtime) == 981173106
    assert (os.readlink(made / "absolute"), os.readlink(made / "relative")) == ("/etc/passwd", "f")


def test_a_build_that_fails(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY missing /\n")
    done = cli("build", str(tmp_path))
    assert done.returncode == 1
    assert b"missing" in done.stderr


def test_networks_and_volumes(cli: Cli) -> None:
    assert json.loads(cli.text("network", "inspect", "bridge"))[0]["Driver"] == "bridge"
    assert cli.text("volume", "create", "data") == "data"
    cli.text(*RUN, "-v", "data:/d", "busybox", "sh", "-c", "echo kept >/d/file")
    assert cli.text(*RUN, "-v", "data:/d", "busybox", "cat", "/d/file") == "kept"
    assert "data" in cli.text("volume", "ls", "-q")
    assert cli.text("volume", "rm", "data") == "data"


# --- the library ----------------------------------------------------------------------------------


def test_the_library_runs_programs(client: Client) -> None:
    done = client.containers.run("busybox", ["cat"], input=b"x" * 500_000, network="none")
    assert done.stdout == b"x" * 500_000
    with pytest.raises(CommandFailed, match="status 4: no"):
        client.containers.run("busybox", "echo no >&2; exit 4", network="none")


def test_the_library_keeps_a_container(client: Client) -> None:
    with client.containers.launch(
        "busybox", "echo ready; sleep 1000", name="kept", network="none", labels={"a": "b"}
    ) as container:
        container.wait_for_log("ready", timeout=_PATIENCE)
        details = container.inspect()
        assert details.state.running
        assert (details.config.labels or {})["a"] == "b"
        assert container.exec(["id", "-u"]).text == "0\n"
        assert container.exec(["cat"], input=b"in").stdout == b"in"
        assert [c.name for c in client.containers.list(filters={"label": ["a=b"]})] == ["kept"]
        with pytest.raises(Conflict):
            client.containers.create("busybox", name="kept")
        container.kill()
        assert container.wait() == 137
    with pytest.raises(NotFound, match="No such container: kept"):
        client.containers.get("kept")


def test_the_library_hears_events(client: Client) -> None:
    since = time.time()
    client.containers.run("busybox", ["true"], network="none")
    seen = [e.action for e in client.events(since=since, until=time.time() + 0.1)]
    assert [a for a in seen if a in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]
