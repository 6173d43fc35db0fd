"""Attacks on the one file of the host that every container is given: its null device.

Whoever is root in a container owns that file, and could take it away from all other users of the
host by changing its mode or owner.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, Bundles
from tests.root.runtime.boxes import Box

pytestmark = pytest.mark.root

NULL = "/dev/null"
CHANGE = "chmod 667 {0}; chown 1:1 {0}; touch -d @1 {0}; true"


@pytest.fixture(autouse=True)
def null_device() -> Iterator[None]:
    """It stays as it is; should an attack succeed, the host gets it back."""
    before = os.stat(NULL)
    yield
    after = os.stat(NULL)
    os.chmod(NULL, stat.S_IMODE(before.st_mode))
    os.chown(NULL, before.st_uid, before.st_gid)
    os.utime(NULL, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _attributes(after) == _attributes(before)
    assert after.st_mtime != 1


def _attributes(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_uid, found.st_gid


def _is_the_hosts(line: str) -> bool:
    found = os.stat(NULL)
    return line == f"{found.st_dev} {found.st_ino}"


@pytest.mark.parametrize("apart", [False, True], ids=["by a thread", "by a clone"])
def test_an_execs_standard_input(box: Box, apart: bool) -> None:
    container = box.start("sleep", "100")
    box.exec(container, "sh", "-c", CHANGE.format("/proc/self/fd/0"), apart=apart)
    told = box.exec(container, "stat", "-Lc", "%d %i", "/proc/self/fd/0", apart=apart)
    assert not _is_the_hosts(told.lines[0])


def test_a_containers_standard_input(box: Box) -> None:
    box.run("sh", "-c", CHANGE.format("/proc/self/fd/0"))
    told = box.run("stat", "-Lc", "%F %d %i", "/proc/self/fd/0")
    kind, _, file = told.lines[0].rpartition("file ")
    assert kind == "character special "
    assert not _is_the_hosts(file)


@pytest.mark.skipif(bool(OTHER), reason="not our own runtime")
def test_standard_output_that_goes_nowhere(oci: Bundles) -> None:
    """What calls the command line gives it the host's."""
    name = oci.start("sleep", "100")
    script = "for fd in 0 1 2; do " + CHANGE.format("/proc/self/fd/$fd") + "; done"
    oci.call_quietly("exec", name, "sh", "-c", script)
    script = "stat -Lc '%d %i' /proc/self/fd/0 /proc/self/fd/1 >/data/told"
    oci.call_quietly("exec", name, "sh", "-c", script)
    told = (oci.directory / name / "rootfs/data/told").read_text().splitlines()
    assert len(told) == 2
    assert not _is_the_hosts(told[0])


def test_what_masks_a_file(box: Box) -> None:
    masked = ("/proc/keys", "/data/file")
    result = box.run(
        "sh",
        "-c",
        "for f in /proc/keys /data/file; do " + CHANGE.format("$f") + "; wc -c <$f; done",
        linux_masked_paths=masked,
    )
    assert result.lines == ["0", "0"]
    assert result.stderr.count(b"Read-only file system") == 6


def test_a_container_that_has_no_null_device(box: Box) -> None:
    """It may take its own away, or put something in its place; its programs then read nothing."""
    container = box.start("sleep", "100")
    for change in ("rm {0}", "mkfifo {0}", "rm {0}; echo trap >{0}", "rm {0}; ln -s /dev/zero {0}"):
        assert box.exec(container, "sh", "-c", change.format(NULL)).code == 0
        assert box.exec(container, "wc", "-c").lines == ["0"]


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Root may do to a null device what is tried above."""
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with null.open() as stdin:
        subprocess.run(["sh", "-c", CHANGE.format("/proc/self/fd/0")], stdin=stdin, check=True)
    found = null.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime) == (0o667, 1, 1)
