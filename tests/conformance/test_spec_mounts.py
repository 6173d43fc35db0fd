"""config.md, section "Mounts", and the root: options, kinds, propagation, what may not be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, PATIENCE, Bundles, Config, base_config, mount

pytestmark = pytest.mark.root


def also(*mounts: Config) -> Callable[[Config], object]:
    return lambda config: config["mounts"].extend(mounts)


def options_of(oci: Bundles, target: str, *mounts: Config) -> set[str]:
    """The options of a mount as the container sees them (proc(5), mountinfo)."""
    for line in oci.lines("cat", "/proc/self/mountinfo", edit=also(*mounts)):
        fields = line.split()
        if fields[4] == target:
            return set(fields[5].split(","))
    raise AssertionError(f"nothing is mounted on {target}")


@pytest.mark.parametrize(
    "option", ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "rw"]
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_options(oci: Bundles, tmp_path: Path, option: str, kind: str) -> None:
    (tmp_path / "source").mkdir()
    if kind == "bind":
        made = mount("/data", "bind", str(tmp_path / "source"), "bind", option)
    else:
        made = mount("/data", "tmpfs", "tmpfs", option)
    assert option in options_of(oci, "/data", made)


def test_the_last_of_two_opposites_counts(oci: Bundles) -> None:
    found = options_of(oci, "/data", mount("/data", "tmpfs", "tmpfs", "ro", "noexec", "rw"))
    assert {"rw", "noexec"} <= found


def test_bind_of_a_file_and_a_directory(oci: Bundles, tmp_path: Path) -> None:
    (tmp_path / "source/below").mkdir(parents=True)
    (tmp_path / "source/one").write_text("one\n")
    lines = oci.lines(
        "cat",
        "/etc/passwd",
        "/new/place/one",
        edit=also(
            mount("/etc/passwd", "bind", str(tmp_path / "source/one"), "bind", "ro"),
            mount("/new/place", "bind", str(tmp_path / "source"), "rbind"),
        ),
    )
    assert lines == ["one", "one"]


def test_a_source_may_be_relative_to_the_bundle(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        config["mounts"].append(mount("/new", "bind", "rootfs/data", "bind"))

    assert oci.lines("cat", "/new/file", edit=edit) == ["from the image"]


def test_mounts_are_made_in_order(oci: Bundles, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("inner\n")
    lines = oci.lines(
        "cat",
        "/data/deep/one",
        edit=also(
            mount("/data", "tmpfs", "tmpfs"),
            mount("/data/deep/one", "bind", str(tmp_path / "one"), "bind"),
        ),
    )
    assert lines == ["inner"]


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 gives a tmpfs the mode of what it hides")
def test_size_and_mode_of_a_tmpfs(oci: Bundles) -> None:
    edit = also(mount("/data", "tmpfs", "tmpfs", "size=64k", "mode=1711"))
    done = oci.run("sh", "-c", "stat -c %a /data; dd if=/dev/zero of=/data/x bs=65k", edit=edit)
    assert done.stdout == "1711\n"
    assert "No space left on device" in done.stderr


def test_copying_up_into_a_tmpfs(oci: Bundles) -> None:
    edit = also(mount("/data", "tmpfs", "tmpfs", "tmpcopyup"))
    assert oci.lines("cat", "/data/file", edit=edit) == ["from the image"]


def test_a_missing_source_is_an_error(oci: Bundles) -> None:
    done = oci.run("true", edit=also(mount("/data", "bind", "/nosuch/source", "bind")))
    assert done.returncode != 0
    assert "/nosuch/source" in done.stderr


def test_a_target_through_a_link_stays_inside(oci: Bundles, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/one").write_text("one\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    config_of = also(mount("/link/target", "bind", str(tmp_path / "source"), "bind"))
    os.symlink(str(outside), oci.layer / "link")
    try:
        done = oci.run("cat", f"{outside}/target/one", edit=config_of)
    finally:
        os.unlink(oci.layer / "link")
    assert (done.stdout, done.stderr) == ("one\n", "")
    assert list(outside.iterdir()) == []


def test_a_read_only_root(oci: Bundles) -> None:
    done = oci.run("touch", "/new", edit=lambda config: config["root"].update(readonly=True))
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize(
    ("host", "name", "mark"),
    [
        ("private", "private", ""),
        ("private", "shared", "shared:"),
        ("private", "slave", ""),
        ("shared", "private", ""),
        ("shared", "shared", "shared:"),
        ("shared", "slave", "master:"),
    ],
)
def test_propagation_of_the_root(oci: Bundles, host: str, name: str, mark: str) -> None:
    """On a host that shares its mounts, as systemd does, a slave has a master."""
    if OTHER and name == "shared":
        pytest.skip("runc 1.1 leaves the root private")
    config = base_config("cat", "/proc/self/mountinfo")
    config["linux"]["rootfsPropagation"] = name
    marks = _marks(oci, config, host)["/"]
    assert marks.startswith(mark) if mark else not marks


def _marks(oci: Bundles, config: Config, host: str) -> dict[str, str]:
    """The propagation of each mount that the program lists, on a host whose own mounts are all
    ``host``: shared, or private."""
    name, where = oci.bundle(config)
    own_mounts = ("unshare", "--mount", "--propagation", host)
    done = subprocess.run(
        [*own_mounts, *oci.command(), "run", "--bundle", str(where), name],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    lines = [line.split(" - ")[0].split() for line in done.stdout.splitlines()]
    return {fields[4]: " ".join(fields[6:]) for fields in lines}


def test_propagation_of_a_mount(oci: Bundles, tmp_path: Path) -> None:
    edit = also(mount("/data", "bind", str(tmp_path), "rbind", "rshared"))
    lines = oci.lines("cat", "/proc/self/mountinfo", edit=edit)
    (line,) = [line for line in lines if line.split()[4] == "/data"]
    assert "shared:" in line


@pytest.mark.skipif(bool(OTHER), reason="runc 1.1 ignores recursive options on kernels of today")
def test_recursive_read_only(oci: Bundles, tmp_path: Path) -> None:
    edit = also(mount("/tmp", "bind", str(tmp_path), "rbind", "rro"))
    done = oci.run("touch", "/tmp/new", edit=edit)
    assert "Read-only file system" in done.stderr


def test_nothing_is_shared_with_a_host_that_shares_its_mounts(oci: Bundles) -> None:
    """systemd makes all mounts shared, so that what is bound from the host would be, too."""
    config = base_config("cat", "/proc/self/mountinfo")
    config["linux"]["maskedPaths"] = ["/proc/timer_list", "/sys/firmware"]
    config["linux"]["readonlyPaths"] = ["/proc/sys"]
    marks = _marks(oci, config, "shared")
    assert "/proc/timer_list" in marks
    del marks["/"]  # a slave of the host's, as rootfsPropagation is by default
    assert set(marks.values()) == {""}


@pytest.mark.skipif(
    not os.path.ismount("/sys/fs/cgroup/systemd"), reason="of version 2 alone, nothing is below"
)
def test_a_mount_below_the_control_groups(oci: Bundles, tmp_path: Path) -> None:
    """podman does so for an init system that wants a hierarchy to write to."""
    below = "/sys/fs/cgroup/systemd"
    (tmp_path / "note").write_text("bound\n")

    def edit(config: Config) -> None:
        config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro"))
        config["mounts"].append(mount(below, "bind", str(tmp_path), "rbind"))

    assert oci.lines("cat", f"{below}/note", edit=edit) == ["bound"]
