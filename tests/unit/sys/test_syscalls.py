"""System calls that need no privileges, on the real kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import select
from pathlib import Path

import pytest

from wherry.runtime.seccomp.tables import syscall_numbers
from wherry.sys import _libc, bpf, caps, files, mount, namespaces, process
from wherry.sys._libc import encode, number_of


def test_errors_carry_the_path() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        files.openat2(files.AT_FDCWD, "/no/such", os.O_RDONLY)
    assert caught.value.filename == "/no/such"
    with pytest.raises(OSError, match="/no/such"):
        mount.umount2("/no/such")


def test_a_zero_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="null byte"):
        encode("a\0b")


def test_numbers_are_known_on_both_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, pivot, seccomp in (("x86_64", 155, 317), ("aarch64", 41, 277)):
        monkeypatch.setattr("wherry.sys._libc.MACHINE", machine)
        assert (number_of("pivot_root"), number_of("seccomp")) == (pivot, seccomp)
        assert number_of("openat2") == 437
    monkeypatch.setattr("wherry.sys._libc.MACHINE", "vax")
    with pytest.raises(OSError, match="not known on vax"):
        number_of("pivot_root")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    """The tables of the compiler of filters come from there; these were written by hand."""
    told = {**_libc._COMMON, **_libc._NUMBERS[machine], "bpf": bpf._NUMBERS[machine]}
    table = syscall_numbers(machine)
    assert told == {name: table[name] for name in told}
    assert set(_libc._NUMBERS["x86_64"]) == set(_libc._NUMBERS["aarch64"])


def test_structs_have_the_kernels_sizes() -> None:
    """The same on all 64-bit processors (include/uapi/linux: sched.h, mount.h, openat2.h)."""
    assert ctypes.sizeof(namespaces.CloneArgs) == 88
    assert ctypes.sizeof(mount.MountAttr) == 32
    assert ctypes.sizeof(files.OpenHow) == 24


def test_links_stay_inside_a_root(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("../../../../etc/passwd")
    root = os.open(tmp_path, os.O_PATH)
    with pytest.raises(FileNotFoundError):
        files.openat2(root, "up", os.O_RDONLY, 0, files.RESOLVE_IN_ROOT)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        files.openat2(root, "up", os.O_RDONLY, 0, files.RESOLVE_NO_SYMLINKS)
    os.close(root)


def test_rename_without_replacing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with pytest.raises(FileExistsError):
        files.renameat2(files.AT_FDCWD, a, files.AT_FDCWD, b, files.RENAME_NOREPLACE)
    files.renameat2(files.AT_FDCWD, a, files.AT_FDCWD, b, files.RENAME_EXCHANGE)
    assert Path(a).read_text() == "b"


def test_file_system_types() -> None:
    with open("/proc/self/stat", "rb") as file:
        assert files.filesystem_type(file.fileno()) == files.PROC_SUPER_MAGIC


def test_inotify(tmp_path: Path) -> None:
    fd = files.inotify_init1()
    watch = files.inotify_add_watch(fd, tmp_path, files.IN_CREATE)
    (tmp_path / "new").touch()
    assert select.select([fd], [], [], 5)[0]
    assert list(files.inotify_events(os.read(fd, 4096))) == [(watch, files.IN_CREATE, "new")]
    files.inotify_rm_watch(fd, watch)
    os.close(fd)


def test_a_child_by_clone3_and_its_pidfd() -> None:
    pid, pidfd = namespaces.clone3(0)
    if pid == 0:
        os._exit(7)
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert result is not None
    assert (result.si_pid, result.si_status) == (pid, 7)
    assert not os.get_inheritable(pidfd)
    os.close(pidfd)


def test_execve_passes_the_environment_as_it_is() -> None:
    reading, writing = os.pipe()
    pid, pidfd = namespaces.clone3(0)
    if pid == 0:
        os.dup2(writing, 1)
        process.execve("/usr/bin/env", [b"env"], [b"A=1", b"A=2", b"B="])
    os.close(writing)
    with open(reading, "rb") as output:
        assert output.read() == b"A=1\nA=2\nB=\n"
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def test_capabilities_by_name() -> None:
    assert caps.mask_of(["CAP_CHOWN", "CAP_KILL"]) == 0b100001
    assert caps.names_of(0b100001) == ("CAP_CHOWN", "CAP_KILL")
    with pytest.raises(ValueError, match="unknown capability 'CAP_X'"):
        caps.mask_of(["CAP_X"])
    effective, permitted, _ = caps.capget()
    assert effective & permitted == effective


@pytest.mark.parametrize("program", [b"", b"1234567"])
def test_a_filter_is_whole_instructions(program: bytes) -> None:
    with pytest.raises(ValueError, match="whole number"):
        process.seccomp_set_filter(program)
