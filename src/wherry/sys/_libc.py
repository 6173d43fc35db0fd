"""Calling the C library and bare system calls.

Two kinds of functions are made here: :func:`function` for what the C library exports and
:func:`syscall` for what it does not (or not in every version). Both give a Python callable that
returns the kernel's result or raises OSError.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import partial

TYPE_CHECKING = False  # at run time wherry-runtime's first stage does without typing, to be quick
if TYPE_CHECKING:
    from typing import Any

# Numbers from the kernel's asm/unistd_64.h and asm-generic/unistd.h; from 424 on they are the same
# on every architecture.
_COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
_NUMBERS = {
    "x86_64": {
        "setgroups": 116,
        "setresuid": 117,
        "setresgid": 119,
        "capget": 125,
        "capset": 126,
        "pivot_root": 155,
        "keyctl": 250,
        "ioprio_set": 251,
        "sched_setattr": 314,
        "renameat2": 316,
        "seccomp": 317,
        "execveat": 322,
        "statx": 332,
    },
    "aarch64": {
        "ioprio_set": 30,
        "pivot_root": 41,
        "capget": 90,
        "capset": 91,
        "setresuid": 147,
        "setresgid": 149,
        "setgroups": 159,
        "keyctl": 219,
        "sched_setattr": 274,
        "renameat2": 276,
        "seccomp": 277,
        "execveat": 281,
        "statx": 291,
    },
}

MACHINE = os.uname().machine
_LIBRARY = ctypes.CDLL(None, use_errno=True)
_HOLDING = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock

Call = Callable[..., int]
Path = str | bytes


def encode(path: Path) -> bytes:
    """The bytes that the kernel takes for a path; ValueError if it holds a zero byte."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"embedded null byte in {data!r}")
    return data


def number_of(name: str) -> int:
    """The number of a system call on this machine; OSError ENOSYS where it is not known."""
    number = _COMMON.get(name) or _NUMBERS.get(MACHINE, {}).get(name)
    if number is None:
        raise OSError(38, f"the system call {name} is not known on {MACHINE}")
    return number


def function(name: str, *argtypes: Any) -> Call:
    """A function of the C library that returns an int, -1 with errno on failure."""
    return _prepared(_LIBRARY[name], ctypes.c_int, argtypes)


def syscall(name: str, *argtypes: Any, hold_gil: bool = False) -> Call:
    """A system call by number. ``hold_gil`` is for calls that return in a second process."""
    library = _HOLDING if hold_gil else _LIBRARY
    call = _prepared(library["syscall"], ctypes.c_long, (ctypes.c_long, *argtypes))
    return partial(call, number_of(name))


def _prepared(pointer: Any, restype: Any, argtypes: tuple[Any, ...]) -> Call:
    pointer.restype = restype
    pointer.argtypes = argtypes
    call: Call = pointer
    return call


def check(result: int, path: Path | None = None) -> int:
    """Return ``result``, or raise the OSError that errno tells of if it is negative."""
    if result < 0:
        error = ctypes.get_errno()
        if path is None or path in ("", b""):
            raise OSError(error, os.strerror(error))
        raise OSError(error, os.strerror(error), os.fsdecode(path))
    return result
