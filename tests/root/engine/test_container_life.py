"""A container's life through the engine: run, end, logs, exec, stop, restart, removal."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
from typing import Any

import pytest
from tests.patience import patience

from wherry.engine.records import ExecOptions
from wherry.errors import Conflict, InvalidArgument, NotFound, NotModified
from wherry.model.container import HostConfig, LogConfig, NetworkingConfig, RestartPolicy
from wherry.runtime.api import CommandNotExecutable, CommandNotFound

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

NO_NETWORK = "none"


def test_output_and_exit_code_arrive(engine: Any) -> None:
    outcome = engine.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (7, b"out\n", b"err\n")


def test_standard_input_is_closed_when_the_client_closes_it(engine: Any) -> None:
    outcome = engine.run("wc", "-c", stdin=b"x" * 200_000)
    assert (outcome.code, outcome.stdout.strip()) == (0, b"200000")


def test_a_signal_is_128_more(engine: Any) -> None:
    container = engine.create("sleep", "600")
    api = engine.engine.containers
    api.start(container)
    exited = api.wait(container, "next-exit")
    api.kill(container, signal="SIGKILL")
    assert exited.result(patience(20)).exit_code == 137
    assert not api.get(container).state.oom_killed
    api.remove(container)


def test_unknown_and_unexecutable_commands(engine: Any) -> None:
    api = engine.engine.containers
    for command, error, code in (
        ("/nosuch", CommandNotFound, 127),
        ("nosuch", CommandNotFound, 127),
        ("/etc/passwd", CommandNotExecutable, 126),
        ("/etc", CommandNotExecutable, 126),
    ):
        container = engine.create(command)
        with pytest.raises(error, match="exec: "):
            api.start(container)
        state = api.get(container).state
        assert (state.status, state.exit_code) == ("created", code)
        assert state.error
        api.remove(container)


def test_an_unknown_image_has_dockers_words(engine: Any) -> None:
    from wherry.model.container import ContainerConfig

    with pytest.raises(NotFound, match="No such image: nosuch:latest"):
        engine.engine.containers.create(
            "", ContainerConfig(image="nosuch"), HostConfig(), NetworkingConfig()
        )


def test_names_are_unique_and_free_again(engine: Any) -> None:
    api = engine.engine.containers
    first = engine.create("true", name="unique")
    with pytest.raises(Conflict, match="is already in use by container"):
        engine.create("true", name="unique")
    api.rename(first, "other")
    second = engine.create("true", name="/unique")
    assert api.get("unique").id == second
    assert api.get(first[:12]).name == "other"
    api.remove("other")
    api.remove("/unique")
    with pytest.raises(NotFound, match="No such container: unique"):
        api.get("unique")
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        engine.create("true", name="bad name")


def test_logs_are_kept_and_read_again(engine: Any) -> None:
    api = engine.engine.containers
    for driver in ("local", "json-file"):
        host = HostConfig(network_mode=NO_NETWORK, log_config=LogConfig(type=driver))
        container = engine.create("sh", "-c", "echo one; echo two >&2; printf three", host=host)
        exited = api.wait(container, "next-exit")
        api.start(container)
        exited.result(patience(20))
        records = list(api.logs(container).read())
        assert [(r.stream, bytes(r.data)) for r in records if r.stream == 1] == [
            (1, b"one\n"),
            (1, b"three"),
        ]
        assert [bytes(r.data) for r in records if r.stream == 2] == [b"two\n"]
        api.remove(container)


def test_stop_asks_first_and_kills_later(engine: Any) -> None:
    api = engine.engine.containers
    polite = engine.create("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
    api.start(polite)
    wait_for_output_of_trap(engine, polite)
    api.stop(polite, timeout=20)
    assert api.get(polite).state.exit_code == 3
    with pytest.raises(NotModified):
        api.stop(polite)
    deaf = engine.create("sleep", "600")
    api.start(deaf)
    api.stop(deaf, timeout=0)
    assert api.get(deaf).state.exit_code == 137
    for container in (polite, deaf):
        api.remove(container)


def wait_for_output_of_trap(engine: Any, container: str) -> None:
    """The shell has set its trap when it runs its first sleep."""
    api = engine.engine.containers
    while not any(row[-1].startswith("sleep") for row in api.top(container, "")[1]):
        pass


def test_start_twice_and_remove_while_it_runs(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("sleep", "600")
    api.start(container)
    with pytest.raises(NotModified):
        api.start(container)
    with pytest.raises(Conflict, match="cannot remove container"):
        api.remove(container)
    removed = api.wait(container, "removed")
    api.remove(container, force=True)
    assert removed.result(0).exit_code == 137


def test_pause_and_unpause(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("sleep", "600")
    api.start(container)
    api.pause(container)
    assert api.get(container).state.status == "paused"
    with pytest.raises(Conflict, match="is already paused"):
        api.pause(container)
    api.unpause(container)
    assert api.get(container).state.status == "running"
    api.pause(container)
    api.stop(container, timeout=0)
    api.remove(container)


def test_a_forced_removal_meets_the_automatic_one(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    containers, lifecycle = engine.engine.containers, engine.engine.containers._lifecycle
    host = HostConfig(network_mode=NO_NETWORK, auto_remove=True)
    container = engine.create("sleep", "100", host=host)
    containers.start(container)
    end_now = lifecycle.end_now

    def slow(entry: Any) -> None:
        end_now(entry)
        containers._auto_remove(entry)

    monkeypatch.setattr(lifecycle, "end_now", slow)
    containers.remove(container, force=True)
    with pytest.raises(NotFound):
        containers.get(container)


def test_auto_remove(engine: Any) -> None:
    api = engine.engine.containers
    host = HostConfig(network_mode=NO_NETWORK, auto_remove=True)
    container = engine.create("true", host=host)
    removed = api.wait(container, "removed")
    api.start(container)
    assert removed.result(patience(20)).exit_code == 0
    with pytest.raises(NotFound):
        api.get(container)


def test_on_failure_restarts_so_many_times(engine: Any) -> None:
    api = engine.engine.containers
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    host = HostConfig(network_mode=NO_NETWORK, restart_policy=policy)
    container = engine.create("sh", "-c", "echo run; exit 5", host=host)
    codes: SimpleQueue[str] = SimpleQueue()
    leave = engine.engine.events.subscribe(
        lambda event: codes.put(event.attributes["exitCode"]) if event.action == "die" else None
    )
    api.start(container)
    assert [codes.get(timeout=patience(30)) for _ in range(3)] == ["5", "5", "5"]
    leave()
    record = api.get(container)
    assert record.restart_count == 2
    assert len(list(api.logs(container).read())) == 3
    api.remove(container)


def test_a_stop_ends_a_restart_policy(engine: Any) -> None:
    api = engine.engine.containers
    host = HostConfig(network_mode=NO_NETWORK, restart_policy=RestartPolicy(name="always"))
    container = engine.create("false", host=host)
    api.start(container)
    seen = threading.Event()
    leave = engine.engine.events.subscribe(
        lambda event: seen.set() if event.action == "die" else None
    )
    assert seen.wait(patience(20))
    leave()
    while api.get(container).state.running:
        try:
            api.stop(container, timeout=1)
        except NotModified:
            break
    assert api.get(container).state.status == "exited"
    api.remove(container)


def run_exec(engine: Any, container: str, *cmd: str, **options: Any) -> tuple[int, bytes]:
    execs = engine.engine.execs
    wanted = ExecOptions(cmd=cmd, attach_stdout=True, attach_stderr=True, **options)
    exec_id = execs.create(container, wanted)
    with execs.start(exec_id, detach=False) as stream:
        stream.settimeout(patience(30))
        data = b""
        while chunk := stream.recv(65536):
            data += chunk
    output = b""
    while data and not options.get("tty"):
        end = 8 + int.from_bytes(data[4:8], "big")
        output, data = output + data[8:end], data[end:]
    return execs.exited(exec_id).result(patience(20)), output or data


def test_exec(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("sleep", "600", env=("COLOUR=blue",), working_dir="/tmp")
    with pytest.raises(Conflict, match="is not running"):
        engine.engine.execs.create(container, ExecOptions(cmd=("true",)))
    api.start(container)
    assert run_exec(engine, container, "sh", "-c", "echo $COLOUR $PWD; exit 4") == (
        4,
        b"blue /tmp\n",
    )
    code, output = run_exec(
        engine, container, "id", "-u", user="1234:1234", env=("A=b",), working_dir="/"
    )
    assert (code, output) == (0, b"1234\n")
    code, output = run_exec(engine, container, "tty", tty=True)
    assert (code, output.strip()) == (0, b"/dev/pts/0")
    with pytest.raises(CommandNotFound):
        run_exec(engine, container, "nosuch")
    assert run_exec(engine, container, "true") == (0, b"")
    api.remove(container, force=True)
    with pytest.raises(NotFound, match="No such exec instance: nope"):
        engine.engine.execs.get("nope")


def test_changes_are_what_the_container_changed(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("sh", "-c", "rm /etc/group; echo x > /new; mkdir /d; touch /d/f")
    exited = api.wait(container, "next-exit")
    api.start(container)
    assert exited.result(patience(20)).exit_code == 0
    assert set(api.changes(container)) == {
        (0, "/etc"),
        (2, "/etc/group"),
        (1, "/new"),
        (1, "/d"),
        (1, "/d/f"),
    }
    api.remove(container)


def test_many_at_once(engine: Any) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(engine.run("sh", "-c", "exit 3").code))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [3] * 20


def test_a_container_and_its_stop_signal(engine: Any) -> None:
    api = engine.engine.containers
    script = "trap 'exit 9' USR1; while :; do sleep 0.1; done"
    container = engine.create("sh", "-c", script, stop_signal="SIGUSR1")
    api.start(container)
    wait_for_output_of_trap(engine, container)
    api.stop(container, timeout=20)
    assert api.get(container).state.exit_code == 9
    assert signal.SIGUSR1 == 10
    api.remove(container)
