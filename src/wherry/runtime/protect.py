"""Keeping hostile containers away from the interpreter that sets them up.

A process that enters a container has the host's interpreter as /proc/PID/exe. A container that gets
hold of that file could write to it once nobody executes it (CVE-2019-5736). So the processes that
enter containers execute it from a read-only mount of its own, through which nobody can write.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from wherry.runtime.oci.lean import left_out
from wherry.runtime.remembered import remember
from wherry.sys import mount as m
from wherry.sys.process import PR_SET_DUMPABLE, prctl

_NEEDED = ("wherry", "msgspec")
ENTERING = frozenset({"create", "run", "exec"})
"""Commands whose process enters a container."""


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


def protect_this_process(arguments: Sequence[str]) -> None:
    """Execute ``wherry-runtime`` again from such a mount, and hide it from ptrace(2).

    Of the caller's environment only PATH is kept: a container that may trace every process could
    read it. The interpreter looks for nothing at its start (-I, -S), which takes half as long.
    """
    prctl(PR_SET_DUMPABLE, 0)
    fd = protected_interpreter()
    if fd is None:
        return
    program = [sys.executable, "-IS", "-c", again_as(), *arguments]
    kept = {"PATH": os.environ["PATH"]} if "PATH" in os.environ else {}
    os.execve(f"/proc/self/fd/{fd}", program, kept)


def again_as(memory: str = "''") -> str:
    """The program that is executed again: it finds our modules, and nothing else that is installed.

    ``memory`` is what to call :func:`go_on` with.
    """
    return (
        "import sys,gc\n"
        "gc.disable()\n"  # which would look at every module that is imported
        f"sys.path[:0]={_library()!r}\n"
        f"memory={memory}\n"
        "from wherry.runtime.oci.lean import left_out\n"
        "with left_out():\n"
        "    from wherry.runtime.protect import go_on\n"
        "go_on(memory)\n"
    )


def is_protected() -> bool:
    """Whether nobody can write to the interpreter that this process executes through its
    ``/proc/PID/exe``: it is on a read-only mount (statvfs(3))."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def _library() -> list[str]:
    """Where this program and the one library that it needs are."""
    absolute = [path for path in sys.path if os.path.isabs(path)]
    return [p for p in absolute if any(os.path.isdir(f"{p}/{name}") for name in _NEEDED)]


def go_on(memory: str) -> None:
    """What is executed again; never returns. Its modules are written to ``memory``, if it names a
    file."""
    prctl(PR_SET_DUMPABLE, 0)
    if not ENTERING.isdisjoint(sys.argv) and not is_protected():
        protect_this_process(sys.argv[1:])
    with left_out():
        from wherry.runtime.host import look_at_groups
        from wherry.runtime.oci.commands import command

        look_at_groups()

    if memory and os.geteuid() == 0:
        with suppress(OSError):
            remember(memory)
    gc.freeze()  # what is imported stays; it need not be looked at again
    gc.enable()
    status = command(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # nothing is left that would have to be tidied up
