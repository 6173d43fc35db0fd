"""The ids of the calling thread: setresuid(2), setresgid(2), setgroups(2).

The C library's functions of these names, and so those of ``os``, change all threads of a process
(nptl(7)); the system calls change one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ctypes import c_char_p, c_size_t, c_uint

from wherry.sys._libc import check, syscall

_setgroups = syscall("setgroups", c_size_t, c_char_p)
_setresgid = syscall("setresgid", c_uint, c_uint, c_uint)
_setresuid = syscall("setresuid", c_uint, c_uint, c_uint)


def setgroups(groups: Sequence[int]) -> None:
    """setgroups(2): exactly these supplementary groups."""
    # An array's type of ctypes would have to be made first, for each length.
    check(_setgroups(len(groups), struct.pack(f"={len(groups)}I", *groups)))


def setresgid(gid: int) -> None:
    """setresgid(2): all three group ids."""
    check(_setresgid(gid, gid, gid))


def setresuid(uid: int) -> None:
    """setresuid(2): all three user ids."""
    check(_setresuid(uid, uid, uid))
