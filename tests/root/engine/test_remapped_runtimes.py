"""``--userns-remap`` with other OCI runtimes: runc if it is installed, and our own as a program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.root.engine.conftest import TestEngine
from tests.root.engine.test_exec_options import execute
from tests.root.engine.test_external_runtimes import PROGRAMS
from tests.root.engine.test_remapped_users import FIRST, RANGES, owner, reachable, shell

from wherry.engine.settings import EngineSettings
from wherry.model.container import HostConfig
from wherry.model.users import UserMap

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, run_id: str) -> Iterator[EngineSettings]:
    """Runtimes look for the root as the container's, so that others have to come to it."""
    with TemporaryDirectory(prefix=run_id, dir="/run") as run:
        os.chmod(run, 0o711)
        yield EngineSettings(
            data_root=str(tmp_path_factory.mktemp("elsewhere") / "data"),
            exec_root=f"{run}/exec",
            users=UserMap(uids=RANGES, gids=RANGES),
            runtimes={name: (program,) for name, program in PROGRAMS.items() if program},
        )


@pytest.fixture(params=PROGRAMS)
def runtime(request: pytest.FixtureRequest) -> str:
    if PROGRAMS[request.param] is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def host(runtime: str, **changes: object) -> HostConfig:
    wanted = {"network_mode": "none", "runtime": runtime} | changes
    return HostConfig(**wanted)  # type: ignore[arg-type]


def test_files_have_the_owners_that_the_image_gives(engine: TestEngine, runtime: str) -> None:
    lines = shell(
        engine,
        "stat -c '%u %g' / /bin/busybox /etc/hosts; id -u; touch /made; chown 33:44 /made;"
        "stat -c '%u %g' /made; echo more >> /etc/hosts; echo again > /dev/stdout",
        host=host(runtime),
    )
    assert lines == ["0 0"] * 3 + ["0", "33 44", "again"]


def test_an_exec_and_what_is_kept(engine: TestEngine, runtime: str) -> None:
    containers = engine.engine.containers
    container = engine.create("sleep", "100", host=host(runtime))
    try:
        containers.start(container)
        pid = containers.get(container).state.pid
        assert owner(f"/proc/{pid}") == (FIRST, FIRST)
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(FIRST), "65536"]
        mine = os.readlink(f"/proc/{pid}/ns/user")
        script = (
            "readlink /proc/self/ns/user; id -u; echo again >/dev/stdout; >/kept; chown 5:6 /kept"
        )
        assert execute(engine, container, "sh", "-c", script).split() == [mine, "0", "again"]
        kept = Path(engine.settings.data_root, "snapshots").glob("*/fs/kept")
        assert [owner(path) for path in kept] == [(5, 6)]
    finally:
        containers.remove(container, force=True)


def test_volumes_and_directories(engine: TestEngine, runtime: str, tmp_path: Path) -> None:
    reachable(tmp_path)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    binds = ("shared:/volume", "shared:/again:ro", f"{tmp_path}:/data")
    script = """
        touch /volume/x; chown 7:8 /volume/x; stat -c '%u %g' /volume /again/x
        touch /again/y 2>/dev/null || echo kept; cat /data/secret 2>/dev/null || echo refused
    """
    try:
        lines = shell(engine, script, host=host(runtime, binds=binds))
        assert lines == ["0 0", "7 8", "kept", "refused"]
        assert owner(f"{engine.settings.data_root}/volumes/shared/_data/x") == (7, 8)
    finally:
        engine.engine.volumes.remove("shared")


def test_a_network_and_a_terminal(engine: TestEngine, runtime: str) -> None:
    bridged = host(runtime, network_mode="bridge")
    script = "ls /sys/class/net; ping -c 1 -W 10 127.0.0.1 >/dev/null && echo there; ls /dev/pts"
    assert {"eth0", "there"} <= set(shell(engine, script, host=bridged))
    container = engine.create("sleep", "100", host=bridged)
    try:
        engine.engine.containers.start(container)
        assert execute(engine, container, "tty", tty=True) == "/dev/pts/0"
    finally:
        engine.engine.containers.remove(container, force=True)


def test_no_mount_is_seen_on_the_host(engine: TestEngine, runtime: str) -> None:
    container = engine.create("sleep", "100", host=host(runtime))
    try:
        engine.engine.containers.start(container)
        mounts = Path("/proc/self/mountinfo").read_text()
        assert engine.settings.exec_root not in mounts
        assert engine.settings.data_root not in mounts
    finally:
        engine.engine.containers.remove(container, force=True)


def test_the_hosts_users(engine: TestEngine, runtime: str) -> None:
    lines = shell(engine, "cat /proc/self/uid_map", host=host(runtime, userns_mode="host"))
    assert lines[0].split() == ["0", "0", "4294967295"]
