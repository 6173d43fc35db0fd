"""Containers' control groups on a machine that systemd runs; skipped by name elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.engine.conftest import IMAGE, TestEngine
from tests.root.runtime.boxes import eventually

from wherry.cgroup import open_cgroups
from wherry.daemon.wiring import open_engine
from wherry.engine.containers.groups import group_path
from wherry.engine.settings import EngineSettings
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig

MB = 1024 * 1024
LIMITS = HostConfig(
    network_mode="none",
    memory=64 * MB,
    memory_reservation=32 * MB,
    pids_limit=30,
    nano_cpus=500_000_000,
    cpu_shares=512,
    cpuset_cpus="0",
)
EXPECTED = {
    "memory.max": str(64 * MB),
    "memory.low": str(32 * MB),
    "pids.max": "30",
    "cpu.max": "50000 100000",
    "cpuset.cpus": "0",
}


def runs() -> bool:
    return Path("/run/systemd/system").is_dir() and open_cgroups().mode == "unified"


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not runs(), reason="this machine lacks systemd with control groups of version 2 alone"
    ),
]


@pytest.fixture(scope="module", params=["cgroupfs", "systemd"])
def driven(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestEngine]:
    root = tmp_path_factory.mktemp(request.param)
    settings = EngineSettings(
        data_root=str(root / "data"),
        exec_root=str(root / "exec"),
        systemd_cgroups=request.param == "systemd",
    )
    opened = open_engine(settings)
    opened.images.bootstrap(IMAGE, progress=lambda line: None)
    yield TestEngine(opened, settings)
    for container in opened.containers.list(running_only=False):
        opened.containers.remove(container.id, force=True, volumes=True)
    opened.networks.purge()
    opened.close()


def directory(engine: TestEngine, container: str) -> Path:
    return Path("/sys/fs/cgroup" + group_path(engine.settings, "", container))


def limits(engine: TestEngine, container: str) -> dict[str, str]:
    return {name: (directory(engine, container) / name).read_text().strip() for name in EXPECTED}


def systemctl(*args: str) -> str:
    done = subprocess.run(
        ["systemctl", *args], check=True, capture_output=True, text=True, timeout=patience(30)
    )
    return done.stdout.strip()


def unit_of(container: str) -> str:
    return f"wherry-{container}.scope"


def test_limits_outlive_a_reload(driven: TestEngine) -> None:
    api = driven.engine.containers
    container = driven.create("sleep", "600", host=LIMITS)
    api.start(container)
    pid = api.get(container).state.pid
    assert limits(driven, container) == EXPECTED
    systemctl("daemon-reload")
    assert limits(driven, container) == EXPECTED
    api.update(container, HostConfig(memory=48 * MB, memory_swap=96 * MB, pids_limit=20))
    changed = EXPECTED | {"memory.max": str(48 * MB), "pids.max": "20"}
    assert limits(driven, container) == changed
    systemctl("daemon-reload")
    assert limits(driven, container) == changed
    assert (directory(driven, container) / "cgroup.procs").read_text() == f"{pid}\n"
    assert Path(f"/proc/{pid}/cgroup").read_text().strip().endswith(container) is (
        not driven.settings.systemd_cgroups
    )
    api.remove(container, force=True)
    eventually(lambda: not directory(driven, container).exists())


def test_pause_figures_and_devices(driven: TestEngine) -> None:
    api = driven.engine.containers
    container = driven.create("sleep", "600", host=LIMITS)
    api.start(container)
    api.pause(container)
    assert (directory(driven, container) / "cgroup.freeze").read_text() == "1\n"
    systemctl("daemon-reload")
    assert (directory(driven, container) / "cgroup.freeze").read_text() == "1\n"
    api.unpause(container)
    found = api.stats(container)
    assert found is not None
    assert found.memory_limit == 64 * MB
    assert 0 < found.group.memory.usage < 64 * MB
    assert found.group.pids.current == 1
    assert found.group.cpu.usage_ns > 0
    api.remove(container, force=True)
    # Nodes can be made, and not opened (a BPF program, also after a reload).
    script = "mknod /kmsg c 1 11 && head -c 1 /kmsg"
    refused = driven.run("sh", "-c", script)
    assert b"not permitted" in refused.stderr
    assert driven.run("head", "-c", "1", "/dev/zero").stdout == b"\0"


def test_a_kill_for_memory_is_told_and_the_name_is_free_again(driven: TestEngine) -> None:
    api = driven.engine.containers
    eater = "x=0123456789abcdef; while :; do x=$x$x; done"
    given = HostConfig(network_mode="none", memory=16 * MB, memory_swap=16 * MB)
    container = driven.create("sh", "-c", eater, host=given)
    for _ in range(2):
        exited = api.wait(container, "next-exit")
        api.start(container)
        assert exited.result(patience(30)).exit_code == 137
        assert api.get(container).state.oom_killed
    api.remove(container)
    eventually(lambda: not directory(driven, container).exists())


def test_the_group_namespace_begins_at_the_group(driven: TestEngine) -> None:
    assert driven.run("cat", "/proc/self/cgroup").stdout == b"0::/\n"


def test_what_systemd_knows_of_a_scope(driven: TestEngine) -> None:
    if not driven.settings.systemd_cgroups:
        pytest.skip("this engine makes its groups itself")
    api = driven.engine.containers
    container = driven.create("sleep", "600", host=LIMITS)
    api.start(container)
    shown = systemctl("show", "-p", "MemoryMax,TasksMax,Delegate,Slice", unit_of(container))
    assert set(shown.splitlines()) == {
        f"MemoryMax={64 * MB}", "TasksMax=30", "Delegate=yes", "Slice=system.slice",
    }  # fmt: skip
    assert driven.engine.system.info().cgroup_driver == "systemd"
    api.stop(container, timeout=0)
    eventually(lambda: _is_gone(container))
    api.start(container)
    assert systemctl("is-active", unit_of(container)) == "active"
    api.remove(container, force=True)
    eventually(lambda: _is_gone(container))


def _is_gone(container: str) -> bool:
    return systemctl("list-units", "--all", "--no-legend", unit_of(container)) == ""


def test_slices_as_parents(driven: TestEngine) -> None:
    if not driven.settings.systemd_cgroups:
        pytest.skip("this engine makes its groups itself")
    api = driven.engine.containers
    given = HostConfig(network_mode="none", cgroup_parent="wherry-tests.slice")
    container = driven.create("sleep", "600", host=given)
    api.start(container)
    pid = api.get(container).state.pid
    path = f"/wherry.slice/wherry-tests.slice/{unit_of(container)}"
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{path}\n"
    api.remove(container, force=True)
    with pytest.raises(InvalidArgument, match="valid slice"):
        driven.create("true", host=HostConfig(network_mode="none", cgroup_parent="/mine"))
