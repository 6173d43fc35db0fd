"""Namespaces and ``/dev/shm`` that containers share, through the engine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine

from wherry.engine.records import ExecOptions
from wherry.errors import Conflict, InvalidArgument
from wherry.model.container import HostConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


@contextmanager
def running(engine: TestEngine, **host: str) -> Iterator[str]:
    """A container that goes on."""
    container = engine.create("cat", open_stdin=True, host=_host(**host))
    try:
        engine.engine.containers.start(container)
        yield container
    finally:
        engine.engine.containers.remove(container, force=True)


def _host(**modes: str) -> HostConfig:
    return HostConfig(network_mode="none", **modes)


def test_memory_is_shared_with_a_shareable_container(engine: TestEngine) -> None:
    with running(engine, ipc_mode="shareable") as donor:
        joined = _host(ipc_mode=f"container:{donor}")
        engine.run("sh", "-c", "echo there > /dev/shm/from-one", host=joined)
        script = "cat /dev/shm/from-one; readlink /proc/self/ns/ipc"
        seen = engine.run("sh", "-c", script, host=joined)
        assert seen.stdout.splitlines()[0] == b"there"
        others = engine.run("readlink", "/proc/self/ns/ipc", host=_host())
        assert seen.stdout.splitlines()[1] != others.stdout.strip()


def test_the_shared_memory_keeps_the_donors_size_and_options(engine: TestEngine) -> None:
    host = HostConfig(network_mode="none", ipc_mode="shareable", shm_size=8 << 20)
    donor = engine.create("cat", open_stdin=True, host=host)
    try:
        engine.engine.containers.start(donor)
        joined = _host(ipc_mode=f"container:{donor}")
        shown = engine.run("grep", " /dev/shm ", "/proc/mounts", host=joined).stdout
        assert b"size=8192k" in shown
        assert b"noexec" in shown
    finally:
        engine.engine.containers.remove(donor, force=True)


def test_who_joined_can_be_joined(engine: TestEngine) -> None:
    with (
        running(engine, ipc_mode="shareable") as donor,
        running(engine, ipc_mode=f"container:{donor}") as second,
    ):
        namespaces = [
            engine.run("readlink", "/proc/self/ns/ipc", host=_host(ipc_mode=f"container:{one}"))
            for one in (donor, second)
        ]
        assert namespaces[0].stdout == namespaces[1].stdout


def test_private_memory_is_not_shared(engine: TestEngine) -> None:
    with (
        running(engine, ipc_mode="private") as donor,
        pytest.raises(InvalidArgument, match="non-shareable IPC"),
    ):
        engine.run("true", host=_host(ipc_mode=f"container:{donor}"))


def test_a_container_that_does_not_run_has_nothing_to_share(engine: TestEngine) -> None:
    donor = engine.create("true", host=_host(ipc_mode="shareable"))
    try:
        with pytest.raises(Conflict, match="non running container"):
            engine.run("true", host=_host(ipc_mode=f"container:{donor}"))
    finally:
        engine.engine.containers.remove(donor)


def test_process_ids_are_shared(engine: TestEngine) -> None:
    with running(engine) as donor:
        seen = engine.run("cat", "/proc/1/comm", host=_host(pid_mode=f"container:{donor}"))
        assert seen.stdout == b"cat\n"


def test_containers_know_that_they_are_containers(engine: TestEngine) -> None:
    container = engine.create("stat", "-c", "%a %s", "/.dockerenv")
    try:
        assert engine.engine.containers.changes(container) == ()
        assert engine.run("stat", "-c", "%a %s", "/.dockerenv").stdout == b"755 0\n"
    finally:
        engine.engine.containers.remove(container)


def test_execs_among_shared_processes_are_not_the_exec_server_s(engine: TestEngine) -> None:
    """Who may trace another container's processes must not get at the server's memory."""
    with running(engine) as first:
        assert _maker(engine, first) == "wherry-execs"
        with running(engine, pid_mode=f"container:{first}") as second:
            assert _maker(engine, first) == "wherry-monitor"
            assert _maker(engine, second) == "wherry-monitor"
        assert _maker(engine, first) == "wherry-execs"


def _maker(engine: TestEngine, container: str) -> str:
    """The name of the process that an exec's process is a child of."""
    execs = engine.engine.execs
    made = execs.create(container, ExecOptions(cmd=("sleep", "100")))
    execs.start(made, detach=True)
    try:
        stat = Path(f"/proc/{execs.get(made).pid}/stat").read_text()
        parent = stat.rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/comm").read_text().strip()
    finally:
        execs.kill(made, signal.SIGKILL)
        execs.exited(made).result()
