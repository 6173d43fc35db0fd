"""config-linux.md, section "Namespaces": a mount namespace that is the host's, or joined by path.

What runc leaves behind in one, `delete` takes away here; so does a start that fails.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, Bundles, Config

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(OTHER), reason="runc leaves its mounts, and takes a joined root away"),
]


def shared(config: Config, path: str = "") -> None:
    linux = config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "mount"]
    if path:
        linux["namespaces"].append({"type": "mount", "path": path})
    else:
        linux.update(maskedPaths=[], readonlyPaths=[])


def refused(oci: Bundles, *args: str, edit: Callable[[Config], object]) -> str:
    """The one sentence of a container that cannot be."""
    done = oci.run(*args, edit=edit)
    assert done.returncode == 1
    return done.stderr


def mounts(below: Path, pid: int | str = "self") -> list[str]:
    """The places of a process's mounts, but those that others on the machine make meanwhile."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in lines]
    return sorted(one for one in places if one.startswith(str(below)))


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The pid of a process with a mount namespace of its own."""
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", "echo ready; exec cat"], stdin=-1, stdout=-1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def test_the_hosts_mounts(oci: Bundles) -> None:
    before = mounts(oci.directory)
    name = oci.start("sleep", "100", edit=shared)
    pid = oci.state(name)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    inside = oci.call("exec", name, "cat", "/data/file")
    assert inside.stdout == "from the image\n"
    assert oci.call("exec", name, "readlink", "/proc/self/root").stdout == "/\n"
    assert Path(f"/proc/{pid}/root/proc/version").exists()
    assert mounts(oci.directory) != before
    oci.call("delete", "--force", name)
    assert mounts(oci.directory) == before


def test_a_joined_mount_namespace_keeps_what_it_has(oci: Bundles, neighbour: int) -> None:
    before, host = mounts(oci.directory, neighbour), mounts(oci.directory)
    path = f"/proc/{neighbour}/ns/mnt"
    name = oci.start("sleep", "100", edit=lambda config: shared(config, path))
    pid = oci.state(name)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(path)
    assert oci.call("exec", name, "cat", "/data/file").stdout == "from the image\n"
    assert mounts(oci.directory) == host
    assert mounts(oci.directory, neighbour) != before
    assert os.path.samefile(f"/proc/{neighbour}/root/etc", "/etc")
    oci.call("delete", "--force", name)
    assert mounts(oci.directory, neighbour) == before


def test_masks_hold_in_a_joined_mount_namespace(oci: Bundles, neighbour: int) -> None:
    def edit(config: Config) -> None:
        shared(config, f"/proc/{neighbour}/ns/mnt")
        config["linux"].update(maskedPaths=["/data/file"], readonlyPaths=["/tmp"])

    script = "cat /data/file; touch /tmp/new 2>/dev/null || echo refused"
    assert oci.lines("sh", "-c", script, edit=edit) == ["refused"]


def test_nothing_is_left_of_a_start_that_fails(oci: Bundles) -> None:
    before = mounts(oci.directory)
    assert "missing" in refused(oci, "missing", edit=shared)
    assert mounts(oci.directory) == before


def test_a_root_that_is_a_mount_already_stays_one(oci: Bundles, tmp_path: Path) -> None:
    place = tmp_path / "other"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        before = mounts(tmp_path)

        def edit(config: Config) -> None:
            shared(config)
            config["root"] = {"path": str(place)}
            config["process"]["args"] = ["/nothing-is-here"]

        assert refused(oci, edit=edit)
        assert mounts(tmp_path) == before != []
    finally:
        subprocess.run(["umount", place], check=True)


def test_users_of_its_own_need_mounts_of_its_own(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        shared(config)
        ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"].update(uidMappings=ids, gidMappings=ids)

    assert "needs a new mount namespace" in refused(oci, "true", edit=edit)


def test_what_cannot_be_hidden_is_said(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        shared(config)
        config["linux"]["maskedPaths"] = ["/proc/kcore"]

    assert "without a private MNT namespace" in refused(oci, "true", edit=edit)


def test_a_mount_namespace_that_is_not_there(oci: Bundles) -> None:
    text = refused(oci, "true", edit=lambda config: shared(config, "/run/no/such/namespace"))
    assert "/run/no/such/namespace" in text
