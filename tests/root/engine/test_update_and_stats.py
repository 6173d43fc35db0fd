"""Limits that change, what is measured, attaching again, attributes of logs."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.engine.records import ExecOptions
from wherry.errors import Conflict, InvalidArgument
from wherry.model.container import HostConfig, LogConfig, RestartPolicy
from wherry.runtime.api import CommandNotExecutable, CommandNotFound

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

MB = 1024 * 1024


def group_value(engine: Any, container: str, controller: str, *files: str) -> str:
    """The first of the files that the container's group has."""
    for file in files:
        for path in Path("/sys/fs/cgroup").rglob(f"*{engine.settings.instance}/{container}/{file}"):
            return path.read_text().strip()
    raise AssertionError(f"no {files} of {controller}")


def test_limits_change_while_it_runs(engine: Any) -> None:
    api = engine.engine.containers
    host = HostConfig(network_mode="none", memory=64 * MB, memory_swap=128 * MB, pids_limit=50)
    container = engine.create("sleep", "600", host=host)
    api.start(container)
    memory = ("memory.max", "memory.limit_in_bytes")
    assert group_value(engine, container, "memory", *memory) == str(64 * MB)
    api.update(container, HostConfig(memory=200 * MB, memory_swap=400 * MB, pids_limit=20))
    assert group_value(engine, container, "memory", *memory) == str(200 * MB)
    assert group_value(engine, container, "pids", "pids.max") == "20"
    api.update(container, HostConfig(memory=32 * MB, pids_limit=0))
    assert group_value(engine, container, "memory", *memory) == str(32 * MB)
    assert group_value(engine, container, "pids", "pids.max") == "max"
    have = api.get(container).host
    assert (have.memory, have.memory_swap, have.pids_limit) == (32 * MB, 400 * MB, -1)
    for wanted, words in (
        (HostConfig(memory=MB), "Minimum memory limit allowed is 6MB"),
        (HostConfig(memory=500 * MB), "smaller than already set memoryswap limit"),
        (HostConfig(cgroup_parent="/x"), "CgroupParent of a container that exists"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            api.update(container, wanted)
    assert api.get(container).host == have
    api.remove(container, force=True)


def test_a_restart_policy_changes(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("true")
    policy = RestartPolicy(name="on-failure", maximum_retry_count=3)
    api.update(container, HostConfig(restart_policy=policy))
    assert api.get(container).host.restart_policy == policy
    with pytest.raises(InvalidArgument, match="unknown policy 'sometimes'"):
        api.update(container, HostConfig(restart_policy=RestartPolicy(name="sometimes")))
    api.remove(container)
    gone = engine.create("true", host=HostConfig(network_mode="none", auto_remove=True))
    with pytest.raises(Conflict, match="AutoRemove is enabled"):
        api.update(gone, HostConfig(restart_policy=RestartPolicy(name="always")))
    api.remove(gone)


def test_what_a_container_uses(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create(
        "sh", "-c", "sleep 600", host=HostConfig(network_mode="none", memory=64 * MB)
    )
    assert api.stats(container) is None
    api.start(container)
    first = api.stats(container)
    assert first.memory_limit == 64 * MB
    assert 0 < first.group.memory.usage < 64 * MB
    assert first.group.pids.current >= 1
    assert first.online_cpus >= 1
    assert first.networks == {}
    second = api.stats(container)
    assert second.read_ns > first.read_ns
    assert second.system_cpu_ns >= first.system_cpu_ns > 0
    assert second.group.cpu.usage_ns >= first.group.cpu.usage_ns > 0
    api.remove(container, force=True)


def test_network_counters_are_the_containers(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("sleep", "600", host=HostConfig(network_mode="bridge"))
    api.start(container)
    assert set(api.stats(container).networks) == {"eth0"}
    api.remove(container, force=True)


def test_a_container_that_ended_is_attached_and_started_again(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("cat", open_stdin=True, stdin_once=True)
    for text in (b"first\n", b"second\n"):
        gone = api.attach(container, stdin=True, stdout=True, stderr=True)
        gone.close()  # this client went away before the start
        stream = api.attach(container, stdin=True, stdout=True, stderr=True)
        exited = api.wait(container, "next-exit")
        with stream:
            api.start(container)
            stream.sendall(text)
            stream.shutdown(1)
            stream.settimeout(patience(30))
            received = b""
            while data := stream.recv(4096):
                received += data
        assert received[8:] == text
        assert exited.result(patience(30)).exit_code == 0
    api.remove(container)


def test_an_exec_that_cannot_be_run_has_its_code(engine: Any) -> None:
    api, execs = engine.engine.containers, engine.engine.execs
    container = engine.create("sleep", "600")
    api.start(container)
    for command, error, code in (
        ("nosuch", CommandNotFound, 127),
        ("/etc", CommandNotExecutable, 126),
    ):
        exec_id = execs.create(container, ExecOptions(cmd=(command,), attach_stdout=True))
        with pytest.raises(error):
            execs.start(exec_id, detach=False)
        assert execs.get(exec_id).exit_code == code
        assert execs.exited(exec_id).result(patience(5)) == code
    api.remove(container, force=True)


def test_after_sigkill_the_end_is_recorded(engine: Any) -> None:
    api = engine.engine.containers
    container = engine.create("sleep", "600")
    api.start(container)
    api.kill(container, signal="SIGKILL")
    assert (api.get(container).state.status, api.get(container).state.exit_code) == ("exited", 137)
    api.remove(container)


def test_one_who_gives_up_waiting_for_an_exec_disturbs_nobody(engine: Any) -> None:
    api, execs = engine.engine.containers, engine.engine.execs
    container = engine.create("sleep", "600")
    api.start(container)
    exec_id = execs.create(container, ExecOptions(cmd=("true",)))
    impatient, patient = execs.exited(exec_id), execs.exited(exec_id)
    assert impatient.cancel()
    execs.start(exec_id, detach=True)
    assert patient.result(patience(30)) == 0
    api.remove(container, force=True)


def test_attributes_of_a_log(engine: Any) -> None:
    api = engine.engine.containers
    options = {"labels": "team", "env-regex": "^V"}
    container = engine.create(
        "true",
        host=HostConfig(
            network_mode="none", log_config=LogConfig(type="json-file", config=options)
        ),
        labels={"team": "a b", "other": "x"},
        env=("VERSION=1", "HIDDEN=2"),
    )
    assert api.log_details(container) == {"VERSION": "1", "team": "a b"}
    api.remove(container)
    bad = LogConfig(type="json-file", config={"env-regex": "("})
    with pytest.raises(InvalidArgument, match="is no regular expression"):
        engine.create("true", host=HostConfig(network_mode="none", log_config=bad))


def test_the_cache_of_builds_is_counted_and_pruned(engine: Any) -> None:
    from threading import Event

    from wherry.build.api import BuildRequest

    context = io.BytesIO()
    text = b"FROM busybox\nRUN echo kept > /kept\n"
    with tarfile.open(fileobj=context, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    context.seek(0)
    builds, images = engine.engine.builds, engine.engine.images
    request = BuildRequest(tags=("cached:1",), network_mode="none")
    builds.build(request, context, lambda event: None, Event())
    (use,) = builds.cache()
    assert use.shared
    assert use.size > 0
    assert builds.prune().removed == ()
    images.remove("cached:1")
    assert not builds.cache()[0].shared
    with pytest.raises(InvalidArgument, match="invalid filter 'colour'"):
        builds.prune(filters={"colour": ("red",)})
    report = builds.prune()
    assert report.removed == (use.id,)
    assert builds.cache() == ()
