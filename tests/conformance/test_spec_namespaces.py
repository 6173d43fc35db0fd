"""config-linux.md: time and user namespaces, namespaces that are joined, id-mapped mounts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, Bundles, Config

pytestmark = pytest.mark.root

IDS = [{"containerID": 0, "hostID": 100000, "size": 1000}]


def namespace(config: Config, kind: str, path: str = "") -> None:
    others = [one for one in config["linux"]["namespaces"] if one["type"] != kind]
    made = {"type": kind, "path": path} if path else {"type": kind}
    config["linux"]["namespaces"] = [*others, made]


def with_users(config: Config) -> None:
    namespace(config, "user")
    config["linux"].update(uidMappings=IDS, gidMappings=IDS)
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "sysfs"]


def open_up(oci: Bundles) -> None:
    """Let the mapped root reach the bundles."""
    for directory in (oci.directory, *oci.directory.parents):
        mode = os.stat(directory).st_mode & 0o777
        if str(directory) != "/" and not mode & 0o001:
            os.chmod(directory, mode | 0o011)


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The pid of a process with user, network and IPC namespaces of its own."""
    with subprocess.Popen(
        ["unshare", "-Uni", "sh", "-c", "echo ready; exec cat"], stdin=-1, stdout=-1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text("0 100000 1000\n")
        yield process.pid
        process.kill()


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 has no time namespaces")
@pytest.mark.parametrize("users", [False, True])
def test_offsets_of_a_time_namespace(oci: Bundles, users: bool) -> None:
    open_up(oci)

    def edit(config: Config) -> None:
        if users:
            with_users(config)
        namespace(config, "time")
        config["linux"]["timeOffsets"] = {
            "monotonic": {"secs": 7000, "nanosecs": 5},
            "boottime": {"secs": 9000},
        }

    lines = oci.lines("cat", "/proc/self/timens_offsets", edit=edit)
    assert [line.split() for line in lines] == [
        ["monotonic", "7000", "5"],
        ["boottime", "9000", "0"],
    ]


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 has no time namespaces")
def test_exec_is_in_the_time_namespace(oci: Bundles) -> None:
    name = oci.start("sleep", "100", edit=lambda config: namespace(config, "time"))
    inside = oci.call("exec", name, "readlink", "/proc/self/ns/time").stdout.strip()
    assert inside == os.readlink(f"/proc/{oci.state(name)['pid']}/ns/time")
    assert inside != os.readlink("/proc/self/ns/time")


def test_a_user_namespace_that_is_joined_with_what_it_owns(oci: Bundles, neighbour: int) -> None:
    open_up(oci)

    def edit(config: Config) -> None:
        for kind, name in (("user", "user"), ("network", "net"), ("ipc", "ipc")):
            namespace(config, kind, f"/proc/{neighbour}/ns/{name}")
        if OTHER:  # it wants to know what it joins
            config["linux"].update(uidMappings=IDS, gidMappings=IDS)
        config["mounts"] = config["mounts"][:2]

    files = [f"self/ns/{name}" for name in ("user", "net", "ipc")]
    script = "; ".join(f"readlink /proc/{file}" for file in files)
    lines = oci.lines("sh", "-c", script, edit=edit)
    assert lines == [os.readlink(f"/proc/{file.replace('self', str(neighbour))}") for file in files]


def test_a_network_namespace_of_the_host_with_users_of_ones_own(oci: Bundles) -> None:
    open_up(oci)

    def edit(config: Config) -> None:
        with_users(config)
        namespace(config, "network", "/proc/self/ns/net")

    lines = oci.lines("readlink", "/proc/self/ns/net", edit=edit)
    assert lines == [os.readlink("/proc/self/ns/net")]


def with_a_file_of(directory: Path, uid: int, gid: int) -> Path:
    source = directory / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", uid, gid)
    return source


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 has no id-mapped mounts of its own")
@pytest.mark.parametrize("users", [False, True])
def test_an_id_mapped_mount(oci: Bundles, tmp_path: Path, users: bool) -> None:
    open_up(oci)
    source = with_a_file_of(tmp_path, 5, 6)
    mapping = [{"containerID": 0, "hostID": 50 + (100000 if users else 0), "size": 10}]

    def edit(config: Config) -> None:
        if users:
            with_users(config)
        config["mounts"].append(
            {
                "destination": "/tmp",
                "type": "bind",
                "source": str(source),
                "options": ["bind", "idmap"],
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        )

    assert oci.lines("stat", "-c", "%u %g", "/tmp/file", edit=edit) == ["55 56"]


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 has no id-mapped mounts of its own")
def test_an_id_mapped_mount_has_the_mappings_of_the_container(oci: Bundles, tmp_path: Path) -> None:
    open_up(oci)
    source = with_a_file_of(tmp_path, 5, 6)

    def edit(config: Config) -> None:
        with_users(config)
        one = {"destination": "/tmp", "type": "bind", "source": str(source)}
        config["mounts"].append({**one, "options": ["bind", "idmap"]})

    assert oci.lines("stat", "-c", "%u %g", "/tmp/file", edit=edit) == ["5 6"]


def with_users_of(config: Config, pid: int) -> None:
    namespace(config, "user", f"/proc/{pid}/ns/user")
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "sysfs"]


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 has no id-mapped mounts of its own")
@pytest.mark.parametrize("options", [["bind", "idmap"], ["rbind", "ridmap"]])
def test_an_id_mapped_mount_has_the_mappings_of_the_users_that_are_joined(
    oci: Bundles, tmp_path: Path, neighbour: int, options: list[str]
) -> None:
    open_up(oci)
    source = with_a_file_of(tmp_path, 5, 6)

    def edit(config: Config) -> None:
        with_users_of(config, neighbour)
        one = {"destination": "/tmp", "type": "bind", "source": str(source)}
        config["mounts"].append({**one, "options": options})

    script = "stat -c '%u %g' /tmp/file; touch /tmp/new"
    assert oci.lines("sh", "-c", script, edit=edit) == ["5 6"]
    assert (source / "new").stat().st_uid == 0


@pytest.mark.parametrize("joined", [False, True])
def test_streams_are_of_the_users_of_the_container(
    oci: Bundles, neighbour: int, joined: bool
) -> None:
    """A process opens them again by name, which only their owner may."""
    open_up(oci)

    def edit(config: Config) -> None:
        with_users(config)
        if joined:
            with_users_of(config, neighbour)
        if joined and not OTHER:  # runc 1.1 wants to know what it joins
            del config["linux"]["uidMappings"], config["linux"]["gidMappings"]

    again = ("sh", "-c", "echo $0 >/proc/self/fd/1; echo $0 >/proc/self/fd/2")
    done = oci.run(*again, "run", edit=edit)
    assert (done.stdout, done.stderr) == ("run\n", "run\n")
    name = oci.start("sleep", "100", edit=edit)
    done = oci.call("exec", name, *again, "exec")
    assert (done.stdout, done.stderr) == ("exec\n", "exec\n")


@pytest.mark.parametrize("users", [False, True])
def test_the_loopback_of_a_new_network_namespace_is_up(oci: Bundles, users: bool) -> None:
    open_up(oci)

    def edit(config: Config) -> None:
        if users:
            with_users(config)

    # Its address has a route as soon as it is up.
    assert oci.lines("grep", "127.0.0.1", "/proc/net/fib_trie", edit=edit)


def test_the_loopback_of_a_network_namespace_that_is_joined_is_left(
    oci: Bundles, neighbour: int
) -> None:
    def edit(config: Config) -> None:
        namespace(config, "network", f"/proc/{neighbour}/ns/net")

    assert oci.lines("cat", "/sys/class/net/lo/operstate", edit=edit) == ["down"]
