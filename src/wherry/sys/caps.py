"""Capabilities: capset(2), capget(2), and prctl(2) for the bounding and ambient sets."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable
from ctypes import c_int, c_uint32, c_void_p

from wherry.sys._libc import check, syscall
from wherry.sys.process import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    prctl,
)

_VERSION_3 = 0x20080522

# include/uapi/linux/capability.h, in the order of their numbers.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
ALL = (1 << 64) - 1
"""Also those that a newer kernel has."""


class _Header(ctypes.Structure):
    _fields_ = [("version", c_uint32), ("pid", c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", c_uint32),
        ("permitted", c_uint32),
        ("inheritable", c_uint32),
    ]


_Pair = _Data * 2  # for 64 capabilities; to make this type takes longer than the call
_capset = syscall("capset", c_void_p, c_void_p)
_capget = syscall("capget", c_void_p, c_void_p)


def mask_of(names: Iterable[str]) -> int:
    """The bits of capabilities given by name; ValueError names one that is unknown."""
    mask = 0
    for name in names:
        number = NUMBERS.get(name)
        if number is None:
            raise ValueError(f"unknown capability {name!r}")
        mask |= 1 << number
    return mask


def names_of(mask: int) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)


def capget() -> tuple[int, int, int]:
    """capget(2) of the calling thread: effective, permitted, inheritable."""
    header = _Header(_VERSION_3, 0)
    data = _Pair()
    check(_capget(ctypes.byref(header), ctypes.byref(data)))
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of the calling thread."""
    header = _Header(_VERSION_3, 0)
    low = 0xFFFFFFFF
    data = _Pair(
        _Data(effective & low, permitted & low, inheritable & low),
        _Data(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    check(_capset(ctypes.byref(header), ctypes.byref(data)))


def drop_bounding(keep: int) -> None:
    """Drop every capability that is not in ``keep`` from the bounding set."""
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # beyond the kernel's last capability
                return
            raise


def set_ambient(mask: int) -> None:
    """Make the ambient set exactly ``mask``; its bits must be permitted and inheritable."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        if mask >> number & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
