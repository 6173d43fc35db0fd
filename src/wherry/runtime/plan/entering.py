"""Which execs a thread can set up, in place of a process; see execs/entering.py."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wherry.model.runtime_spec import LinuxSeccomp, LinuxSyscall, Process
from wherry.runtime.ops.base import Op
from wherry.runtime.ops.kernel import (
    JoinCgroup,
    JoinContainer,
    JoinKeyring,
    SetAffinity,
    SetOomScore,
)
from wherry.runtime.ops.program import (
    AnnounceReady,
    BecomeUser,
    ChangeDirectory,
    CloseDescriptors,
    DropAdmin,
    Execute,
    FindHome,
    FindProgram,
    LoadSeccomp,
    NoNewPrivileges,
    SetSecurityLabel,
    SetStdio,
)
from wherry.sys.namespaces import CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER

# Those that work on the calling thread. Limits and a terminal are a process's; so is the OOM score,
# which harms none that is about to end, and which the program inherits.
_OF_A_THREAD = {
    AnnounceReady,
    BecomeUser,
    ChangeDirectory,
    CloseDescriptors,
    DropAdmin,
    Execute,
    FindHome,
    FindProgram,
    JoinCgroup,
    JoinContainer,
    JoinKeyring,
    LoadSeccomp,
    NoNewPrivileges,
    SetAffinity,
    SetOomScore,
    SetStdio,
}
# What the C library does to spawn a process and to end the thread, once the filter is loaded.
_NEEDED = frozenset(
    (
        *("execve", "exit", "exit_group", "futex", "madvise", "mmap", "mprotect", "munmap"),
        *("rt_sigaction", "rt_sigprocmask", "setsid", "wait4", "read", "write", "close"),
        *("brk", "mremap", "sched_yield", "rseq", "set_robust_list", "gettid", "getpid"),
    )
)
_ALLOW = "SCMP_ACT_ALLOW"
_TRACE = "CAP_SYS_PTRACE"
_ENOSYS = 38
_CLONE_NEW = 0x7E020000
"""The flags of clone(2) that make namespaces; posix_spawn(3) sets none of them."""


def may_trace(*processes: Process | None) -> bool:
    """Whether one of these can have CAP_SYS_PTRACE.

    What is being spawned shares the memory of who spawns it until it executes its program, and is
    seen by the container meanwhile. That it is not dumpable keeps all others from that memory.
    """
    return any(
        _TRACE in names
        for process in processes
        if process is not None and process.capabilities is not None
        for names in msgspec.structs.astuple(process.capabilities)
    )


def is_enterable(ops: Sequence[Op], flags: int, profile: LinuxSeccomp | None) -> bool:
    """Whether a thread can do what a process would, in namespaces of these ``flags``.

    The container needs its own PIDs: among the host's the thread would find its own descriptors
    below /proc. Only a process of one thread enters user and time namespaces (setns(2)).
    """
    return (
        flags & (CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWTIME) == CLONE_NEWPID
        and all(type(op) in _OF_A_THREAD or _is_inherited(op) for op in ops)
        and all(_is_variable(e) for op in ops if isinstance(op, FindHome) for e in op.env)
        and (profile is None or _lets_spawn(profile))
    )


def _is_inherited(op: Op) -> bool:
    """AppArmor copies what a thread wants for its next execve(2) to the processes that it makes.
    Of SELinux that is not tried."""
    return isinstance(op, SetSecurityLabel) and op.attribute == "apparmor/exec"


def _is_variable(entry: str) -> bool:
    """posix_spawn(3) takes a list, but Python's wants names and values."""
    return entry.find("=") > 0


def _lets_spawn(profile: LinuxSeccomp) -> bool:
    if "SECCOMP_FILTER_FLAG_TSYNC" in profile.flags:
        return False  # it would hold for the first thread
    if profile.default_action == _ALLOW and not profile.syscalls:
        return True
    needed, clone, clone3 = set(_NEEDED), False, False
    for rule in profile.syscalls:
        if rule.action == _ALLOW and not rule.args:
            needed.difference_update(rule.names)
        if "clone" in rule.names:
            clone = _lets_clone(rule)
        if "clone3" in rule.names:
            clone3 = rule.errno_ret == _ENOSYS or (rule.action == _ALLOW and not rule.args)
    return clone and clone3 and not needed


def _lets_clone(rule: LinuxSyscall) -> bool:
    """Without flags of namespaces."""
    return rule.action == _ALLOW and all(
        arg.op == "SCMP_CMP_MASKED_EQ" and not arg.value & ~_CLONE_NEW and not arg.value_two
        for arg in rule.args
    )
