"""``--userns-remap``: a container's root is nobody on the host."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine
from tests.root.engine.test_exec_options import execute

from wherry.engine.api import PathStat
from wherry.engine.settings import EngineSettings
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig, ImageOptions, MountRequest
from wherry.model.idmap import IdRange
from wherry.model.users import UserMap

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

FIRST = 300_000
RANGES = (IdRange(0, FIRST, 65536),)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> EngineSettings:
    root = tmp_path_factory.mktemp("remapped")
    return EngineSettings(
        data_root=str(root / "data"),
        exec_root=str(root / "exec"),
        users=UserMap(uids=RANGES, gids=RANGES),
    )


def shell(engine: TestEngine, script: str, **options: object) -> list[str]:
    """What a script prints that ends well."""
    outcome = engine.run("sh", "-ec", script, **options)  # type: ignore[arg-type]
    assert (outcome.code, outcome.stderr) == (0, b"")
    return outcome.stdout.decode().splitlines()


def host(**changes: object) -> HostConfig:
    return HostConfig(**{"network_mode": "none"} | changes)  # type: ignore[arg-type]


def owner(path: str | Path) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_uid, found.st_gid


def reachable(path: Path) -> None:
    """Let others than root come to a test's directory."""
    for directory in (path, *path.parents):
        if "pytest" in str(directory):
            directory.chmod(0o755)


def test_the_root_of_a_container_has_no_power_on_the_host(engine: TestEngine) -> None:
    container = engine.create("sleep", "100")
    containers = engine.engine.containers
    containers.start(container)
    pid = containers.get(container).state.pid
    try:
        assert owner(f"/proc/{pid}") == (FIRST, FIRST)
        assert os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(FIRST), "65536"]
    finally:
        containers.remove(container, force=True)


def test_files_have_the_owners_that_the_image_gives(engine: TestEngine) -> None:
    lines = shell(
        engine,
        "stat -c '%u %g' / /bin/busybox /etc/hosts /etc/resolv.conf; id -u;"
        "touch /made; chown 33:44 /made; stat -c '%u %g' /made; rm /etc/passwd; mkdir -p /a/b/c;"
        "echo more >> /etc/hosts; echo again > /dev/stdout",
    )
    assert lines == ["0 0"] * 4 + ["0", "33 44", "again"]


def test_changes_are_kept_with_the_owners_of_the_container(engine: TestEngine) -> None:
    container = engine.create("sh", "-c", "echo x > /made && chown 33:44 /made && rm /etc/group")
    containers = engine.engine.containers
    try:
        exited = containers.wait(container, "next-exit")
        containers.start(container)
        assert exited.result(30).exit_code == 0
        made = Path(engine.settings.data_root, "snapshots").glob("*/fs/made")
        assert [owner(path) for path in made] == [(33, 44)]
        assert (1, "/made") in containers.changes(container)
        assert (2, "/etc/group") in containers.changes(container)
    finally:
        containers.remove(container, force=True)


def test_another_user_of_the_container(engine: TestEngine) -> None:
    lines = shell(
        engine, "id -u; id -g; echo a > /dev/stdout; touch /x 2>/dev/null || echo no", user="33:44"
    )
    assert lines == ["33", "44", "a", "no"]


def test_devices_and_kernel_files_are_there(engine: TestEngine) -> None:
    lines = shell(
        engine,
        "echo x > /dev/null; head -c 3 /dev/zero | wc -c; ls /sys/class/net; ls /sys/fs/cgroup |"
        "wc -l; mount | grep -c ' /dev/mqueue '; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    )
    assert lines[:2] == ["3", "lo"]
    assert int(lines[2]) > 0
    assert lines[3:] == ["1", "0"]


def test_an_init_of_its_own(engine: TestEngine) -> None:
    script = "cat /proc/1/comm; tr '\\0' '\\n' < /proc/1/cmdline | head -n 1"
    lines = shell(engine, script, host=host(init=True))
    assert lines == ["wherry-init", "wherry-init"]


def test_what_only_the_host_can_set(engine: TestEngine) -> None:
    lines = shell(engine, "cat /proc/self/oom_score_adj", host=host(oom_score_adj=500))
    assert lines == ["500"]


def test_a_terminal(engine: TestEngine) -> None:
    container = engine.create("sh", "-c", "tty; echo hello > /dev/console", tty=True)
    containers = engine.engine.containers
    stream = containers.attach(container, stdin=False, stdout=True, stderr=True)
    try:
        exited = containers.wait(container, "next-exit")
        containers.start(container)
        with stream:
            data = b"".join(iter(lambda: stream.recv(4096), b""))
        assert exited.result(30).exit_code == 0
        assert data.split() == [b"/dev/pts/0", b"hello"]
    finally:
        containers.remove(container, force=True)


def test_networks_belong_to_the_container(engine: TestEngine) -> None:
    lines = shell(
        engine,
        "ip -4 -o addr show eth0 | wc -l; ip link set lo down; ip link set lo up; echo done;"
        "hostname",
        host=HostConfig(network_mode="bridge", cap_add=("NET_ADMIN",)),
        hostname="inside",
    )
    assert lines == ["1", "done", "inside"]


def test_volumes_have_the_owners_of_the_container(engine: TestEngine) -> None:
    mounts = host(binds=("shared:/etc",))
    try:
        shell(engine, "chown 5:6 /etc/passwd; touch /etc/new; stat -c %u /etc", host=mounts)
        path = Path(engine.engine.volumes.get("shared").path)
        assert owner(path / "passwd") == (5, 6)
        assert owner(path / "new") == (0, 0)
        lines = shell(engine, "stat -c '%u %g' /etc/passwd /etc/new", host=mounts)
        assert lines == ["5 6", "0 0"]
    finally:
        engine.engine.volumes.remove("shared")


def test_the_hosts_files_are_not_the_containers(engine: TestEngine, tmp_path: Path) -> None:
    reachable(tmp_path)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "given").write_text("x")
    os.chown(tmp_path / "given", FIRST, FIRST)
    lines = shell(
        engine,
        "stat -c %u /data/secret /data/given; cat /data/secret 2>/dev/null || echo refused",
        host=host(binds=(f"{tmp_path}:/data",)),
    )
    assert lines == ["65534", "0", "refused"]


def test_a_missing_directory_of_a_bind_is_the_containers(
    engine: TestEngine, tmp_path: Path
) -> None:
    reachable(tmp_path)
    shell(engine, "touch /data/new", host=host(binds=(f"{tmp_path}/new:/data",)))
    assert owner(tmp_path / "new") == (FIRST, FIRST)
    assert owner(tmp_path / "new/new") == (FIRST, FIRST)


def test_an_exec_is_in_the_same_namespace(engine: TestEngine) -> None:
    container = engine.create("sleep", "100")
    containers = engine.engine.containers
    containers.start(container)
    try:
        for user in ("", "33"):
            output = execute(
                engine, container, "sh", "-c", "id -u; echo b > /dev/stdout", user=user
            )
            assert output == f"{user or 0}\nb"
    finally:
        containers.remove(container, force=True)


def archive(name: str, uid: int, gid: int) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.uid, entry.gid, entry.size = uid, gid, 2
        tar.addfile(entry, io.BytesIO(b"x\n"))
    stream.seek(0)
    return stream


@pytest.mark.parametrize("running", [False, True])
def test_copies_keep_the_owners(engine: TestEngine, running: bool) -> None:
    container = engine.create("sleep", "100")
    engine_api, files = engine.engine, engine.engine.files
    try:
        if running:
            engine_api.containers.start(container)
        put = {"keep_types": False, "container_user": False}
        files.put(container, "/tmp", archive("sub/one", 33, 44), **put)
        output = io.BytesIO()
        seen: list[PathStat] = []
        files.get(container, "/tmp/sub", seen.append, lambda piece: output.write(piece) and None)
        output.seek(0)
        with tarfile.open(fileobj=output) as tar:
            owners = {one.name.strip("/"): (one.uid, one.gid) for one in tar}
        assert owners == {"sub": (0, 0), "sub/one": (33, 44)}
        whole = io.BytesIO()
        files.export(container, lambda piece: whole.write(piece) and None)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as tar:
            found = {one.name: (one.uid, one.gid) for one in tar}
        assert found["tmp/sub/one"] == (33, 44)
        assert found["bin/busybox"] == (0, 0)
    finally:
        engine_api.containers.remove(container, force=True)


def test_the_hosts_own_users_when_asked_for(engine: TestEngine) -> None:
    lines = shell(engine, "readlink /proc/self/ns/user; touch /x", host=host(userns_mode="host"))
    assert lines == [os.readlink("/proc/self/ns/user")]


def test_a_container_may_change_its_users(engine: TestEngine) -> None:
    """What one start wrote belongs to the same ids in the next, with whichever users."""
    container = engine.create("sh", "-c", "cat /made 2>/dev/null; stat -c %u / ; echo x > /made")
    containers = engine.engine.containers
    try:
        for _ in range(2):
            exited = containers.wait(container, "next-exit")
            containers.start(container)
            assert exited.result(30).exit_code == 0
        lines = b"".join(record.data for record in containers.logs(container).read()).split()
        assert lines == [b"0", b"x", b"0"]
    finally:
        containers.remove(container, force=True)


def test_namespaces_are_shared_with_their_users(engine: TestEngine) -> None:
    containers = engine.engine.containers
    donor = engine.create("sleep", "100", name="donor", host=host(ipc_mode="shareable"))
    containers.start(donor)
    try:
        users = os.readlink(f"/proc/{containers.get(donor).state.pid}/ns/user")
        modes = ("network_mode", "pid_mode", "ipc_mode")
        for mode in modes:
            shared = host(**{mode: "container:donor"})
            assert shell(engine, "readlink /proc/self/ns/user", host=shared) == [users]
    finally:
        containers.remove(donor, force=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"privileged": True}, "privileged mode is incompatible with user namespaces"),
        ({"security_opt": ("writable-cgroups=true",)}, "writable-cgroups is incompatible"),
        ({"network_mode": "host"}, "cannot share the host's network namespace"),
        ({"pid_mode": "host"}, "cannot share the host PID namespace"),
    ],
)
def test_what_needs_the_hosts_users_is_refused(
    engine: TestEngine, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        engine.create("true", host=host(**changes))
    lines = shell(engine, "echo fine", host=host(**changes, userns_mode="host"))
    assert lines == ["fine"]


def test_the_hosts_ipc_namespace(engine: TestEngine) -> None:
    lines = shell(engine, "readlink /proc/self/ns/ipc", host=host(ipc_mode="host"))
    assert lines == [os.readlink("/proc/self/ns/ipc")]


def test_images_as_mounts(engine: TestEngine) -> None:
    whole = MountRequest(type="image", source="busybox:latest", target="/image")
    part = MountRequest(
        type="image",
        source="busybox:latest",
        target="/part",
        image_options=ImageOptions(subpath="bin"),
    )
    lines = shell(
        engine,
        "stat -c %u /image/bin/busybox /part/busybox; touch /image/x 2>/dev/null || echo no",
        host=host(mounts=(whole, part)),
    )
    assert lines == ["0", "0", "no"]


def test_the_engine_tells_of_it(engine: TestEngine) -> None:
    assert "name=userns" in engine.engine.system.info().security_options
