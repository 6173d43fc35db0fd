"""What a client may ask of an exec, down to the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.patience import patience
from tests.root.engine.conftest import TestEngine, read_all, split_frames

from wherry.engine.records import ExecOptions
from wherry.model.container import HostConfig
from wherry.runtime.api import CommandNotFound

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture
def container(engine: TestEngine) -> Iterator[str]:
    made = engine.create("cat", open_stdin=True, host=HostConfig(network_mode="none"))
    engine.engine.containers.start(made)
    yield made
    engine.engine.containers.remove(made, force=True)


def execute(engine: TestEngine, container: str, *cmd: str, **options: object) -> str:
    """What a command in the container prints."""
    wanted = ExecOptions(cmd=cmd, attach_stdout=True, attach_stderr=True, **options)
    exec_id = engine.engine.execs.create(container, wanted)
    stream = engine.engine.execs.start(exec_id, detach=False)
    assert stream is not None
    with stream:
        data = read_all(stream)
    assert engine.engine.execs.exited(exec_id).result(patience(30)) == 0
    return (data if wanted.tty else split_frames(data)[0]).decode().strip()


def test_user_and_group(engine: TestEngine, container: str) -> None:
    assert execute(engine, container, "id", user="1000:5").startswith("uid=1000 gid=5")


def test_directory_and_environment(engine: TestEngine, container: str) -> None:
    command = ("sh", "-c", "pwd; echo $GREETING")
    shown = execute(engine, container, *command, working_dir="/tmp", env=("GREETING=moin",))
    assert shown.splitlines() == ["/tmp", "moin"]


def test_terminal(engine: TestEngine, container: str) -> None:
    assert execute(engine, container, "tty", tty=True).startswith("/dev/pts/")


def test_privileges(engine: TestEngine, container: str) -> None:
    command = ("grep", "CapEff", "/proc/self/status")
    plain = int(execute(engine, container, *command).split()[1], 16)
    privileged = int(execute(engine, container, *command, privileged=True).split()[1], 16)
    assert plain & ~privileged == 0
    assert privileged & 1 << 21  # CAP_SYS_ADMIN, which a container has not
    assert not plain & 1 << 21


def test_what_failed_leaves_no_dead_process_in_the_container(
    engine: TestEngine, container: str
) -> None:
    wanted = ExecOptions(cmd=("no-such-program",), attach_stdout=True)
    with pytest.raises(CommandNotFound):
        engine.engine.execs.start(engine.engine.execs.create(container, wanted), detach=False)
    shown = execute(engine, container, "sh", "-c", "cat /proc/[0-9]*/comm")
    assert "wherry" not in shown
