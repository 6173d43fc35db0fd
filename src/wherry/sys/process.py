"""Processes: execveat(2), prctl(2), seccomp(2), keyctl(2), pidfds, scheduling."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_int32, c_long, c_uint, c_uint32, c_uint64, c_ulong, c_void_p

from wherry.sys._libc import Path, check, encode, function, syscall

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_SET_MM = 35
PR_SET_MM_ARG_START = 8
PR_SET_MM_ARG_END = 9

# seccomp(2)
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 32

# keyctl(2)
KEYCTL_JOIN_SESSION_KEYRING = 1

AT_EMPTY_PATH = 0x1000
IOPRIO_WHO_PROCESS = 1
IOPRIO_CLASS_SHIFT = 13


class SockFprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", c_char_p)]


class SchedAttr(ctypes.Structure):
    """``struct sched_attr`` as of Linux 3.14."""

    _fields_ = [
        ("size", c_uint32),
        ("sched_policy", c_uint32),
        ("sched_flags", c_uint64),
        ("sched_nice", c_int32),
        ("sched_priority", c_uint32),
        ("sched_runtime", c_uint64),
        ("sched_deadline", c_uint64),
        ("sched_period", c_uint64),
    ]


_prctl = function("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_prctl_name = function("prctl", c_int, c_char_p, c_ulong, c_ulong, c_ulong)
_personality = function("personality", c_ulong)
_execveat = syscall("execveat", c_long, c_char_p, c_void_p, c_void_p, c_long)
_execve = function("execve", c_char_p, c_void_p, c_void_p)
_seccomp = syscall("seccomp", c_uint, c_uint, ctypes.POINTER(SockFprog))
_keyctl_join = syscall("keyctl", c_long, c_char_p)
_ioprio_set = syscall("ioprio_set", c_long, c_long, c_long)
_sched_setattr = syscall("sched_setattr", c_long, ctypes.POINTER(SchedAttr), c_uint)


def prctl(option: int, argument: int = 0, third: int = 0) -> int:
    """prctl(2)."""
    return check(_prctl(option, argument, third, 0, 0))


def set_name(name: str) -> None:
    """Set the name that ps(1) shows for the thread, at most 15 bytes: PR_SET_NAME."""
    check(_prctl_name(PR_SET_NAME, name.encode()[:15], 0, 0, 0))


def overwrite(address: int, data: bytes) -> None:
    """Write over this process's own memory. Nothing checks that it is there."""
    ctypes.memmove(address, data, len(data))


def personality(persona: int) -> int:
    """personality(2): the one before."""
    return check(_personality(persona))


def _strings(values: Sequence[bytes]) -> ctypes.Array[c_char_p]:
    return (c_char_p * (len(values) + 1))(*values, None)


def execve(path: Path, argv: Sequence[bytes], env: Sequence[bytes]) -> None:
    """execve(2). The environment is a list, so that it is passed exactly as given."""
    check(_execve(encode(path), _strings(argv), _strings(env)), path)


def execveat(fd: int, path: Path, argv: Sequence[bytes], env: Sequence[bytes], flags: int) -> None:
    """execveat(2)."""
    check(_execveat(fd, encode(path), _strings(argv), _strings(env), flags), path)


def seccomp_set_filter(program: bytes, flags: int = 0) -> int:
    """seccomp(2), SECCOMP_SET_MODE_FILTER, of a packed array of ``struct sock_filter``.

    Needs no-new-privs or CAP_SYS_ADMIN. Returns the listener's descriptor if one was asked for.
    """
    if not program or len(program) % 8:
        raise ValueError("a seccomp filter is a whole number of instructions of 8 bytes")
    fprog = SockFprog(len(program) // 8, program)
    return check(_seccomp(SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(fprog)))


def join_session_keyring(name: str) -> int:
    """keyctl(2), KEYCTL_JOIN_SESSION_KEYRING: a new keyring of that name; its serial number."""
    return check(_keyctl_join(KEYCTL_JOIN_SESSION_KEYRING, name.encode()))


def ioprio_set(io_class: int, priority: int) -> None:
    """ioprio_set(2) of the calling process."""
    check(_ioprio_set(IOPRIO_WHO_PROCESS, 0, io_class << IOPRIO_CLASS_SHIFT | priority))


def sched_setattr(
    policy: int,
    *,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """sched_setattr(2) of the calling process; times in nanoseconds."""
    attr = SchedAttr(
        ctypes.sizeof(SchedAttr), policy, flags, nice, priority, runtime, deadline, period
    )
    check(_sched_setattr(0, ctypes.byref(attr), 0))
