"""Attacks by what an image or a shared volume holds: links and files where the set-up looks."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, Bundles
from tests.machine import host_mounts
from tests.root.runtime.boxes import MOUNTS, Box

from wherry.errors import WherryError
from wherry.model.runtime_spec import Mount
from wherry.runtime.client import MonitoredProcess
from wherry.sys.files import AT_FDCWD, RENAME_EXCHANGE, renameat2

pytestmark = pytest.mark.root

WITHOUT_DEV = tuple(one for one in MOUNTS if not one.destination.startswith("/dev"))
WITHOUT_PROC = tuple(one for one in MOUNTS if one.destination != "/proc")
ATTEMPTS = 24
DESCRIPTORS = range(3, 24)


def bind(source: Path | str, target: str, *options: str) -> Mount:
    return Mount(destination=target, type="bind", source=str(source), options=("rbind", *options))


@pytest.fixture
def hostile(box: Box, tmp_path: Path) -> Path:
    """A tree of its own for the image, to put what is wanted into."""
    tree = tmp_path / "hostile"
    shutil.copytree(box.layer, tree, symlinks=True)
    box.layer = tree
    return tree


# --- CVE-2024-21626 ---


UP = "/.." * 12
"""From any directory of the host's to its root; at the container's it stays there."""
APART = pytest.mark.parametrize("apart", [False, True], ids=["by a thread", "by a clone"])


def _link(process: MonitoredProcess, fd: int) -> None:
    link = Path(f"/proc/{process.pid}/root/data/link")
    link.unlink(missing_ok=True)
    link.symlink_to(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/proc/self/fd/{}" + UP, "/data/link"])
def test_cve_2024_21626_no_working_directory_on_the_host(
    box: Box, hostile: Path, path: str
) -> None:
    """A working directory below /proc/self/fd, where the host's would still be open."""
    for fd in DESCRIPTORS:
        (hostile / "data/link").unlink(missing_ok=True)
        (hostile / "data/link").symlink_to(f"/proc/self/fd/{fd}")
        with pytest.raises(WherryError):
            box.run("ls", "-la", process_cwd=path.format(fd))


@APART
@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/proc/self/fd/{}" + UP, "/data/link"])
def test_cve_2024_21626_no_working_directory_of_an_exec(box: Box, path: str, apart: bool) -> None:
    process = box.start("sleep", "100")
    for fd in DESCRIPTORS:
        _link(process, fd)
        with pytest.raises(WherryError):
            box.exec(process, "ls", "-la", cwd=path.format(fd), apart=apart)


@APART
def test_cve_2024_21626_no_program_on_the_host(box: Box, apart: bool) -> None:
    process = box.start("sleep", "100")
    for fd in DESCRIPTORS:
        for path in (f"/proc/self/fd/{fd}/bin/sh", f"/proc/self/fd/{fd}{UP}/bin/sh"):
            with pytest.raises(WherryError):
                box.exec(process, path, "-c", "true", apart=apart)


def test_cve_2024_21626_no_first_program_on_the_host(box: Box) -> None:
    for fd in DESCRIPTORS:
        with pytest.raises(WherryError):
            box.run(f"/proc/self/fd/{fd}{UP}/bin/sh", "-c", "true")


@pytest.mark.skipif(bool(OTHER), reason="not our own runtime")
def test_cve_2024_21626_a_directory_that_was_given_on_purpose(oci: Bundles, tmp_path: Path) -> None:
    """What is passed with ``--preserve-fds`` may be used, and yet is nobody's working directory."""
    name = oci.start("sleep", "100")

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        command = (*oci.command(), "exec", "--preserve-fds", "1", *args)
        given = ("sh", "-c", 'exec 3<"$0"; exec "$@"', str(tmp_path), *command)
        return subprocess.run(given, check=False, capture_output=True, text=True)

    (tmp_path / "secret").touch()
    done = call("--cwd", "/proc/self/fd/3", name, "ls")
    assert done.returncode != 0
    assert "is outside the container" in done.stderr
    assert "secret" in call(name, "ls", "/proc/self/fd/3/").stdout.split()


def test_cve_2024_21626_only_the_streams_are_open(box: Box) -> None:
    process = box.start("sleep", "100")
    assert sorted(os.listdir(f"/proc/{process.pid}/fd")) == ["0", "1", "2"]
    # ls(1) itself has the directory open that it lists.
    lines = box.exec(process, "ls", "-l", "/proc/self/fd").lines
    links = [line.partition(" -> ")[2] for line in lines if " -> " in line]
    assert len(links) in (3, 4)
    assert all(link.startswith(("pipe:", "/dev/null", "/proc/")) for link in links)


# --- CVE-2021-30465, CVE-2023-27561 ---


@pytest.mark.parametrize("link", ["{outside}", "/../../../../../../../..{outside}"])
def test_cve_2021_30465_a_target_that_is_a_link(
    box: Box, hostile: Path, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (hostile / "data/target").symlink_to(link.format(outside=outside))
    mounts = (*MOUNTS, bind(box.layer / "etc", "/data/target/new"))
    assert box.run("ls", "/data/target/new", mounts=mounts).lines == ["passwd"]
    assert list(outside.iterdir()) == []


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """Exchange two names as fast as can be, as another container of the same volume would."""
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            renameat2(AT_FDCWD, str(one), AT_FDCWD, str(other), RENAME_EXCHANGE)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_cve_2021_30465_a_target_that_is_exchanged_meanwhile(box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    volume = tmp_path / "volume"
    (volume / "a/here").mkdir(parents=True)
    (volume / "b").symlink_to(outside)
    # While "a" is the link, what lacks below it would be made outside, and mounted on.
    mounts = (*MOUNTS, bind(volume, "/vol"), bind(box.layer / "etc", "/vol/a/here"))
    before = host_mounts()
    with exchanging(volume / "a", volume / "b"):
        for _ in range(ATTEMPTS):
            try:
                box.run("true", mounts=mounts)
            except WherryError:
                continue  # the names were exchanged between two steps
    assert host_mounts() == before
    assert os.listdir(outside) == []


def test_cve_2023_27561_proc_is_a_link(box: Box, hostile: Path) -> None:
    """A procfs that is mounted elsewhere would leave a made-up /proc to be hardened."""
    (hostile / "proc").symlink_to("/tmp/fake")
    (hostile / "tmp/fake/self").mkdir(parents=True)
    with pytest.raises(WherryError, match="proc"):
        box.run("true")


# --- CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 ---


@pytest.mark.parametrize("link", ["/proc/sys/kernel/core_pattern", "/data/file"])
def test_cve_2025_31133_what_masks_is_the_null_device(box: Box, hostile: Path, link: str) -> None:
    """A /dev/null of the container's that leads elsewhere, in place of what masks a path."""
    (hostile / "dev").mkdir()
    (hostile / "dev/null").symlink_to(link)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    masked = ("/proc/keys", "/data/file")
    try:
        result = box.run(
            "sh",
            "-c",
            "stat -c '%F %t:%T' /proc/keys; echo x >/proc/sys/kernel/core_pattern",
            mounts=WITHOUT_DEV,
            linux_masked_paths=masked,
        )
    except WherryError:
        pass  # refused altogether: nothing to mask
    else:
        assert result.lines[0] == "character special file 1:3"
        assert b"Read-only file system" in result.stderr
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize("link", ["/proc/sys/kernel/core_pattern", "/data/file"])
def test_cve_2025_31133_a_shared_dev_has_no_part_in_masks(
    box: Box, tmp_path: Path, link: str
) -> None:
    """A /dev that others have, too, and where nothing is made: they may change it at any time."""
    made_up = tmp_path / "dev"
    made_up.mkdir()
    (made_up / "null").symlink_to(link)
    script = "stat -c '%F %t:%T' /proc/keys /data/file; stat -c %F /proc/sys/kernel/core_pattern"
    result = box.run(
        "sh",
        "-c",
        script,
        mounts=(*WITHOUT_DEV, bind(made_up, "/dev")),
        linux_masked_paths=("/proc/keys", "/data/file"),
    )
    null = "character special file 1:3"
    assert result.lines[:2] == [null, null]
    assert result.lines[2].startswith("regular")


def test_cve_2025_52565_a_made_up_terminal_is_refused(
    box: Box, hostile: Path, tmp_path: Path
) -> None:
    """A /dev/pts of the container's, whose files would be bound on /dev/console."""
    made_up = tmp_path / "pts"
    made_up.mkdir()
    for name in ("ptmx", "0", "1"):
        (made_up / name).symlink_to("/proc/sys/kernel/core_pattern")
    mounts = (*WITHOUT_DEV, bind(made_up, "/dev/pts"))
    with pytest.raises(WherryError):
        box.run("true", mounts=mounts, process_terminal=True)


def test_cve_2025_52565_the_consoles_place_is_a_link(box: Box, hostile: Path) -> None:
    (hostile / "dev").mkdir()
    (hostile / "dev/console").symlink_to("/proc/sysrq-trigger")
    pts = [one for one in MOUNTS if one.destination == "/dev/pts"]
    script = "stat -c %F /proc/sysrq-trigger; echo b >/proc/sysrq-trigger"
    try:
        result = box.run("sh", "-c", script, mounts=(*WITHOUT_DEV, *pts), process_terminal=True)
    except WherryError:
        return
    # Bound there, it is a terminal, and what is written to it is only printed.
    text = result.stdout
    assert b"Read-only file system" in text or b"character special file" in text


def test_cve_2025_52881_settings_go_to_the_kernels_own_procfs(box: Box, hostile: Path) -> None:
    """A /proc of the container's that takes what was meant for a namespace or a process."""
    fake = hostile / "proc/sys/net/ipv4/ip_forward"
    fake.parent.mkdir(parents=True)
    fake.write_text("untouched")
    (hostile / "proc/self").mkdir()
    (hostile / "proc/self/oom_score_adj").symlink_to("/proc/sys/net/ipv4/ip_forward")
    process = box.start(
        "sleep",
        "100",
        mounts=WITHOUT_PROC,
        linux_sysctl={"net.ipv4.ip_forward": "1"},
        process_oom_score_adj=77,
    )
    command = ("nsenter", "-t", str(process.pid), "-n", "cat", "/proc/sys/net/ipv4/ip_forward")
    assert subprocess.check_output(command) == b"1\n"
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "77\n"
    assert Path(f"/proc/{process.pid}/root/proc/sys/net/ipv4/ip_forward").read_text() == "untouched"


# --- CVE-2019-16884 ---


def test_cve_2019_16884_a_volume_over_proc(box: Box, tmp_path: Path) -> None:
    """A volume that hides /proc, so that limits and labels are written to files of its own."""
    fake = tmp_path / "fake"
    (fake / "self/attr").mkdir(parents=True)
    for name in ("self/oom_score_adj", "self/attr/exec"):
        (fake / name).write_text("")
    try:
        process = box.start(
            "sleep", "100", mounts=(*MOUNTS, bind(fake, "/proc")), process_oom_score_adj=77
        )
    except WherryError:
        return
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "77\n"
    assert (fake / "self/oom_score_adj").read_text() == ""
