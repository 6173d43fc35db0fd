"""Containers of other OCI runtimes: runc where it is installed, and our own as a program."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.engine.conftest import TestEngine, read_all, split_frames

from wherry.engine.records import ExecOptions
from wherry.engine.settings import EngineSettings
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import HostConfig
from wherry.runtime.api import CommandNotFound

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

PATIENCE = patience(30)
PROGRAMS = {
    "runc": shutil.which("runc"),
    "ours": str(Path(sys.executable).with_name("wherry-runtime")),
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> EngineSettings:
    root = tmp_path_factory.mktemp("external")
    return EngineSettings(
        data_root=str(root / "data"),
        exec_root=str(root / "exec"),
        runtimes={name: (program,) for name, program in PROGRAMS.items() if program},
    )


@pytest.fixture(params=PROGRAMS)
def host(request: pytest.FixtureRequest) -> HostConfig:
    if PROGRAMS[request.param] is None:
        pytest.skip(f"{request.param} is not installed")
    return HostConfig(network_mode="none", runtime=request.param)


@pytest.fixture
def running(engine: TestEngine, host: HostConfig) -> Iterator[str]:
    container = engine.create("cat", open_stdin=True, host=host)
    engine.engine.containers.start(container)
    yield container
    engine.engine.containers.remove(container, force=True)


def test_output_and_exit_code(engine: TestEngine, host: HostConfig) -> None:
    outcome = engine.run("sh", "-c", "echo out; echo err >&2; exit 7", host=host)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (7, b"out\n", b"err\n")


def test_standard_input(engine: TestEngine, host: HostConfig) -> None:
    assert engine.run("cat", stdin=b"in and out", host=host).stdout == b"in and out"


def test_a_terminal(engine: TestEngine, host: HostConfig) -> None:
    container = engine.create("sh", "-c", "tty; stty size", tty=True, host=host)
    containers = engine.engine.containers
    try:
        with containers.attach(container, stdin=False, stdout=True, stderr=True) as stream:
            containers.start(container)
            assert read_all(stream).startswith(b"/dev/pts/0")
    finally:
        containers.remove(container, force=True)


def test_the_network_of_the_engine_is_entered(engine: TestEngine, host: HostConfig) -> None:
    bridged = HostConfig(network_mode="bridge", runtime=host.runtime)
    assert b"eth0" in engine.run("ls", "/sys/class/net", host=bridged).stdout


def test_no_mount_is_seen_on_the_host(engine: TestEngine, running: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    assert running not in mounts


def test_mountpoints_are_no_changes(engine: TestEngine, host: HostConfig) -> None:
    container = engine.create("true", host=host)
    containers = engine.engine.containers
    try:
        exited = containers.wait(container, "next-exit")
        containers.start(container)
        assert exited.result(PATIENCE).exit_code == 0
        assert containers.changes(container) == ()
    finally:
        containers.remove(container)


def test_an_exec(engine: TestEngine, running: str) -> None:
    script = "echo inside; exit 3"
    options = ExecOptions(cmd=("sh", "-c", script), attach_stdout=True, attach_stderr=True)
    execs = engine.engine.execs
    exec_id = execs.create(running, options)
    stream = execs.start(exec_id, detach=False)
    assert stream is not None
    with stream:
        assert split_frames(read_all(stream))[0] == b"inside\n"
    assert execs.exited(exec_id).result(PATIENCE) == 3


def test_an_exec_with_a_terminal(engine: TestEngine, running: str) -> None:
    options = ExecOptions(cmd=("tty",), tty=True, attach_stdout=True)
    stream = engine.engine.execs.start(engine.engine.execs.create(running, options), detach=False)
    assert stream is not None
    with stream:
        assert read_all(stream).startswith(b"/dev/pts/")


def test_signals(engine: TestEngine, host: HostConfig) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    container = engine.create("sh", "-c", script, host=host)
    containers = engine.engine.containers
    try:
        exited = containers.wait(container, "next-exit")
        with containers.attach(container, stdin=False, stdout=True, stderr=True) as stream:
            containers.start(container)
            stream.settimeout(PATIENCE)
            assert b"ready" in stream.recv(100)
            containers.kill(container, signal=str(int(signal.SIGUSR1)))
            assert exited.result(PATIENCE).exit_code == 9
    finally:
        containers.remove(container, force=True)


def test_pause(engine: TestEngine, running: str) -> None:
    containers = engine.engine.containers
    containers.pause(running)
    assert containers.get(running).state.status == "paused"
    containers.unpause(running)
    assert containers.get(running).state.status == "running"


def test_an_unknown_program(engine: TestEngine, host: HostConfig) -> None:
    with pytest.raises(CommandNotFound, match="no-such-program"):
        engine.run("no-such-program", host=host)


def test_our_init_is_not_for_others(engine: TestEngine, host: HostConfig) -> None:
    wanted = HostConfig(network_mode="none", runtime=host.runtime, init=True)
    with pytest.raises(NotSupported, match="--init"):
        engine.run("true", host=wanted)


@pytest.mark.parametrize("name", ["wherry", "io.containerd.runc.v2"])
def test_names_of_our_own(engine: TestEngine, name: str) -> None:
    """Dockerd's name for its default, which clients write, is one of them."""
    host = HostConfig(network_mode="none", runtime=name)
    assert engine.run("echo", "fine", host=host).stdout == b"fine\n"


def test_a_runtime_that_is_not_configured(engine: TestEngine) -> None:
    with pytest.raises(InvalidArgument, match="unknown or invalid runtime name: kata"):
        engine.create("true", host=HostConfig(network_mode="none", runtime="kata"))
