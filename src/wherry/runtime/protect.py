"""Keeping hostile containers away from the interpreter that sets them up.

A process that enters a container has the host's interpreter as /proc/PID/exe. A container that gets
hold of that file could write to it once nobody executes it (CVE-2019-5736). So the processes that
enter containers execute it from a read-only mount of its own, through which nobody can write.
"""

from __future__ import annotations

import os
import sys

from wherry.sys import mount as m
from wherry.sys.process import PR_SET_DUMPABLE, prctl

_MARK = "_WHERRY_PROTECTED"


def protected_interpreter() -> int | None:
    """A descriptor of the interpreter on a detached read-only mount; None where that cannot be
    (without privileges, or before Linux 5.12)."""
    try:
        fd = m.open_tree(m.AT_FDCWD, os.path.realpath(sys.executable), m.OPEN_TREE_CLONE)
    except OSError:
        return None
    try:
        m.mount_setattr(fd, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
    except OSError:
        os.close(fd)
        return None
    return fd


def protect_this_process() -> None:
    """Execute this program again from such a mount, once, and hide it from ptrace(2).

    Of the caller's environment only what the interpreter needs is kept: a container that may trace
    every process could read it.
    """
    prctl(PR_SET_DUMPABLE, 0)
    if os.environ.pop(_MARK, ""):
        return
    fd = protected_interpreter()
    if fd is not None:
        kept = {k: v for k, v in os.environ.items() if k == "PATH" or k.startswith("PYTHON")}
        os.execve(f"/proc/self/fd/{fd}", sys.orig_argv, {**kept, _MARK: "1"})
