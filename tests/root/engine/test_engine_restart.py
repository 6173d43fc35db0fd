"""Containers outlive the engine, and the next engine takes them up again."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.patience import patience

from wherry.daemon.wiring import open_engine
from wherry.engine.settings import EngineSettings
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig, RestartPolicy

pytestmark = pytest.mark.root


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    return EngineSettings(data_root=str(tmp_path / "data"), exec_root=str(tmp_path / "exec"))


@pytest.fixture(autouse=True)
def cleared(settings: EngineSettings, leftovers: Any) -> Iterator[None]:
    """Whatever a test left running is removed by one more engine."""
    yield
    engine = open_engine(settings)
    for container in engine.containers.list(running_only=False):
        engine.containers.remove(container.id, force=True)
    engine.networks.purge()
    engine.close()


def create(engine: Any, *cmd: str, policy: str = "", network: str = "none") -> str:
    host = HostConfig(network_mode=network, restart_policy=RestartPolicy(name=policy))
    config = ContainerConfig(image="busybox", cmd=cmd)
    created = engine.containers.create("", config, host, NetworkingConfig())
    return str(created.id)


def opened(settings: EngineSettings) -> Any:
    engine = open_engine(settings)
    if not engine.images.list():
        engine.images.bootstrap("busybox", progress=lambda line: None)
    return engine


def test_a_running_container_is_taken_up(settings: EngineSettings) -> None:
    engine = opened(settings)
    script = "trap 'exit 5' TERM; while :; do sleep 0.05; done"
    container = create(engine, "sh", "-c", script, network="bridge")
    engine.containers.start(container)
    before = engine.containers.get(container)
    engine.close()

    engine = opened(settings)
    after = engine.containers.get(container)
    assert after.state == before.state
    assert after.endpoints == before.endpoints
    engine.containers.stop(container, timeout=20)
    assert engine.containers.get(container).state.exit_code == 5
    engine.containers.start(container)
    engine.close()


@pytest.mark.parametrize("ends_meanwhile", [False, True])
def test_a_volume_s_mount_is_taken_up(settings: EngineSettings, ends_meanwhile: bool) -> None:
    """It stays for a container that goes on, and goes if nobody does."""
    engine = opened(settings)
    options = {"type": "tmpfs", "device": "tmpfs"}
    path = engine.volumes.create("shared", options=options).path
    host = HostConfig(network_mode="none", binds=("shared:/v",))
    config = ContainerConfig(image="busybox", cmd=("sleep", "600"))
    container = engine.containers.create("", config, host, NetworkingConfig()).id
    engine.containers.start(container)
    Path(path, "file").write_text("kept")
    pid = engine.containers.get(container).state.pid
    engine.close()
    if ends_meanwhile:
        with os.fdopen(os.pidfd_open(pid)) as process:
            os.kill(pid, signal.SIGKILL)
            assert select.select([process], [], [], patience(30))[0]

    engine = opened(settings)
    assert os.path.ismount(path) is not ends_meanwhile
    if not ends_meanwhile:
        assert Path(path, "file").read_text() == "kept"
        engine.containers.remove(container, force=True)
        assert not os.path.ismount(path)
    engine.close()


def test_an_end_between_two_engines_is_not_lost(settings: EngineSettings) -> None:
    engine = opened(settings)
    container = create(engine, "sleep", "600")
    engine.containers.start(container)
    pid = engine.containers.get(container).state.pid
    descriptor = os.pidfd_open(pid)
    engine.close()
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)
    exit_record = Path(settings.runtime_dir(container), "state", "exit.json")
    while not exit_record.exists():
        pass

    engine = opened(settings)
    state = engine.containers.get(container).state
    assert (state.status, state.exit_code) == ("exited", 137)
    engine.close()


def test_policies_start_containers_with_the_engine(settings: EngineSettings) -> None:
    engine = opened(settings)
    always = create(engine, "sleep", "600", policy="always")
    unless = create(engine, "sleep", "600", policy="unless-stopped")
    never = create(engine, "sleep", "600")
    for container in (always, unless, never):
        engine.containers.start(container)
        engine.containers.stop(container, timeout=0)
    engine.close()

    engine = opened(settings)
    states = {c: engine.containers.get(c).state.status for c in (always, unless, never)}
    assert states == {always: "running", unless: "exited", never: "exited"}
    engine.close()


def test_half_made_things_are_gone_after_a_crash(settings: EngineSettings) -> None:
    engine = opened(settings)
    image = engine.image_store.get("busybox")
    stray = "ab" * 32
    os.makedirs(settings.container_dir(stray))
    os.makedirs(settings.runtime_dir(stray))
    engine.close()
    engine = opened(settings)
    assert image == engine.image_store.get("busybox")
    assert not os.path.exists(settings.container_dir(stray))
    assert not os.path.exists(settings.runtime_dir(stray))
    engine.close()


def test_a_container_of_another_runtime_is_taken_up(settings: EngineSettings) -> None:
    program = shutil.which("runc")
    if program is None:
        pytest.skip("runc is not installed")
    settings = msgspec.structs.replace(settings, runtimes={"other": (program,)})
    engine = opened(settings)
    config = ContainerConfig(image="busybox", cmd=("sleep", "1000"))
    host = HostConfig(network_mode="none", runtime="other")
    container = engine.containers.create("", config, host, NetworkingConfig()).id
    engine.containers.start(container)
    engine.close()

    engine = opened(settings)
    assert engine.containers.get(container).state.running
    exited = engine.containers.wait(container, "next-exit")
    engine.containers.kill(container)
    assert exited.result(patience(30)).exit_code == 137
    engine.containers.remove(container)
    engine.close()


def test_after_a_reboot_containers_start_after_those_they_need(settings: EngineSettings) -> None:
    engine = opened(settings)
    # Named so that the order of the table, by id or by age, is not the one that is needed.
    joining = create(engine, "sleep", "600", policy="always")
    needed = create(engine, "sleep", "600", policy="always", network="bridge")
    engine.containers.start(needed)
    _join(engine, joining, needed)
    engine.containers.start(joining)
    pids = [engine.containers.get(one).state.pid for one in (needed, joining)]
    engine.close()
    _reboot(settings, pids)

    engine = opened(settings)
    states = [engine.containers.get(one).state for one in (needed, joining)]
    assert [state.status for state in states] == ["running", "running"]
    assert not {state.pid for state in states} & set(pids)
    spaces = [os.readlink(f"/proc/{state.pid}/ns/net") for state in states]
    assert spaces[0] == spaces[1]
    engine.close()


def _join(engine: Any, container: str, other: str) -> None:
    """Let a container that was made first join the namespace of one that was made later."""
    entry = engine.containers._table.find(container)
    host = msgspec.structs.replace(entry.record.host, network_mode=f"container:{other}")
    engine.containers._table.save(entry, msgspec.structs.replace(entry.record, host=host))


def _reboot(settings: EngineSettings, pids: list[int]) -> None:
    """What a reboot does: all processes and all that is in memory are gone."""
    for pid in pids:
        descriptor = os.pidfd_open(pid)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], patience(20.0))[0]
        os.close(descriptor)
    for state in Path(settings.exec_root, "containers").glob("*/state"):
        deadline = time.monotonic() + patience(20.0)
        while not (state / "exit.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)  # its monitor ends soon
    shutil.rmtree(settings.exec_root)
