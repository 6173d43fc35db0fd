"""The default profile on the running kernel: what a process may do under it, and what not."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from wherry.runtime.seccomp.compiler import compile_filter
from wherry.runtime.seccomp.profile import default_profile
from wherry.runtime.seccomp.tables import syscall_numbers

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by x86-64 numbers"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"),
]

PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
libc = ctypes.CDLL(None, use_errno=True)


class SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def call(name: str, *args: int) -> int:
    """The error number of a raw system call, 0 if it succeeded."""
    number = syscall_numbers("x86_64")[name]
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in args))
    return ctypes.get_errno() if result < 0 else 0


def under_default_profile(action: Callable[[], int], *caps: str) -> int:
    """Load the profile in a child and return what ``action`` returned there."""
    program = compile_filter(default_profile(caps))
    child = os.fork()
    if child == 0:
        result = 255
        try:
            fprog = SockFprog(len(program) // 8, program)
            if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(fprog), 0, 0) == 0:
                result = action()
        finally:
            os._exit(result)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def spawn() -> int:
    return subprocess.run(
        [sys.executable, "-c", "import threading as t; x = t.Thread(target=print); x.start()"],
        check=False,
        stdout=subprocess.DEVNULL,
    ).returncode


def open_socket(family: int) -> int:
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno or 255
    return 0


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("clone3", (0, 0), errno.ENOSYS),
        ("unshare", (0x20000000,), errno.EPERM),
        ("clone", (0x20000000 | 17, 0, 0, 0, 0), errno.EPERM),
        ("keyctl", (0, 0), errno.EPERM),
        ("mount", (0, 0, 0, 0, 0), errno.EPERM),
        ("io_uring_setup", (1, 0), errno.EPERM),
        ("personality", (0xFFFFFFFF,), 0),
        ("personality", (0x0400000,), errno.EPERM),
        ("getpid", (), 0),
    ],
)
def test_answers(name: str, args: tuple[int, ...], expected: int) -> None:
    assert under_default_profile(lambda: call(name, *args)) == expected


def test_a_new_call_is_for_the_kernel_to_answer() -> None:
    """mseal(2) came with Linux 6.10."""
    assert under_default_profile(lambda: call("mseal", 0, 0, 0)) == call("mseal", 0, 0, 0)


def test_a_number_that_no_kernel_knows_is_unknown_and_not_forbidden() -> None:
    def newest() -> int:
        return ctypes.get_errno() if libc.syscall(ctypes.c_long(700)) < 0 else 0

    assert under_default_profile(newest) == errno.ENOSYS


def test_sockets_by_family() -> None:
    assert under_default_profile(lambda: open_socket(socket.AF_INET)) == 0
    assert under_default_profile(lambda: open_socket(socket.AF_VSOCK)) == errno.EPERM
    assert under_default_profile(lambda: open_socket(socket.AF_ALG)) == errno.EPERM


def test_ordinary_programs_with_threads_run() -> None:
    assert under_default_profile(spawn) == 0


def test_a_capability_opens_its_calls() -> None:
    null_clone3 = under_default_profile(lambda: call("clone3", 0, 0), "CAP_SYS_ADMIN")
    assert null_clone3 == errno.EINVAL
