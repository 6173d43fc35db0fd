"""Namespaces: unshare(2), setns(2), clone3(2), and the names that belong to them."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint64

from wherry.sys._libc import check, function, syscall

CLONE_NEWTIME = 0x00000080
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

SIGCHLD = 17


class CloneArgs(ctypes.Structure):
    """``struct clone_args``."""

    _fields_ = [
        ("flags", c_uint64),
        ("pidfd", c_uint64),
        ("child_tid", c_uint64),
        ("parent_tid", c_uint64),
        ("exit_signal", c_uint64),
        ("stack", c_uint64),
        ("stack_size", c_uint64),
        ("tls", c_uint64),
        ("set_tid", c_uint64),
        ("set_tid_size", c_uint64),
        ("cgroup", c_uint64),
    ]


_unshare = function("unshare", c_int)
_setns = function("setns", c_int, c_int)
_sethostname = function("sethostname", c_char_p, c_size_t)
_setdomainname = function("setdomainname", c_char_p, c_size_t)
_clone3 = syscall("clone3", ctypes.POINTER(CloneArgs), c_size_t, hold_gil=True)


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(_unshare(flags))


def setns(fd: int, nstype: int) -> None:
    """setns(2). With a pid descriptor several namespaces are entered at once (Linux 5.8)."""
    check(_setns(fd, nstype))


def clone3(flags: int, cgroup_fd: int | None = None) -> tuple[int, int]:
    """clone3(2) as a fork: returns (pid, close-on-exec pidfd) in the parent, (0, -1) in the child.

    Only for a process with a single thread: the interpreter's own preparations for a fork are not
    made. ``cgroup_fd`` is a directory of cgroup v2 in which the child begins. With CLONE_PARENT the
    end is signalled as this process's own would be.
    """
    pidfd = c_int(-1)
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD
    arguments = CloneArgs(flags=flags | CLONE_PIDFD, exit_signal=exit_signal)
    arguments.pidfd = ctypes.addressof(pidfd)
    if cgroup_fd is not None:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup_fd
    pid = check(_clone3(ctypes.byref(arguments), ctypes.sizeof(CloneArgs)))
    return pid, (pidfd.value if pid else -1)


def sethostname(name: str) -> None:
    """sethostname(2)."""
    data = name.encode()
    check(_sethostname(data, len(data)), name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    data = name.encode()
    check(_setdomainname(data, len(data)), name)
