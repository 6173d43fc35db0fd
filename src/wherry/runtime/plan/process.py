"""The part of a plan that turns the set-up process into the program; the same for exec."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence

from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import Capabilities, LinuxPersonality, Process, Scheduler
from wherry.runtime.ops.base import Op
from wherry.runtime.ops.kernel import (
    SetAffinity,
    SetIoPriority,
    SetOomScore,
    SetPersonality,
    SetRlimit,
    SetScheduler,
)
from wherry.runtime.ops.program import (
    AnnounceReady,
    AwaitStart,
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
from wherry.sys import caps

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
_UNLIMITED = 1 << 63
ALL_CPUS = range(1024)  # the kernel leaves out those that there are not
_MAX_CPU = 65_535


def check_process(process: Process) -> None:
    """InvalidArgument if the process cannot be what it says."""
    if not process.args or not process.args[0]:
        raise InvalidArgument("no command specified")
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f"the working directory {process.cwd!r} is not an absolute path")
    for text in (*process.args, *process.env, process.cwd):
        if "\0" in text:
            raise InvalidArgument(f"the argument or variable {text!r} holds a zero byte")


def process_ops(
    process: Process,
    *,
    seccomp: LoadSeccomp | None,
    personality: LinuxPersonality | None,
    start_hooks: Sequence[Op] = (),
    die_with_parent: bool = True,
    preserve_fds: int = 0,
    await_start: bool = False,
    own_init: bool = False,
    cpus: str = "",
) -> Iterator[Op]:
    """From a process inside its root to the program; ``own_init`` keeps an init above it. ``cpus``
    is a list of processors, by default all of the control group's."""
    user = process.user
    become = _become_user(
        process, needs_admin=seccomp is not None and not process.no_new_privileges
    )
    yield SetStdio(user.uid)
    yield FindHome(process.env, user.uid)
    yield SetAffinity(parse_cpus(cpus) if cpus else ALL_CPUS)
    yield from _kernel_ops(process, personality)
    yield from _label_ops(process, own_init)
    before, after = _init_ops(process, become) if own_init else ((), ())
    yield from before
    yield CloseDescriptors(preserve_fds)
    yield ChangeDirectory(process.cwd, again=False)
    if process.no_new_privileges:
        yield NoNewPrivileges()
    yield become
    yield ChangeDirectory(process.cwd, again=True)
    yield FindProgram(process.args[0])
    yield AnnounceReady(die_with_parent)
    if await_start:
        yield AwaitStart()
    if seccomp is not None:
        yield seccomp
    if become.keep_admin:
        yield DropAdmin(become.effective, become.permitted, become.inheritable)
    yield from start_hooks  # which the filter holds for, too
    yield from after
    yield Execute(process.args)


def _init_ops(process: Process, become: BecomeUser) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    if process.selinux_label:
        raise NotSupported(
            "an init of the container's own is not supported together with an SELinux label: only "
            "an executed program would get the label"
        )
    from wherry.runtime.ops.init import NameInit, StayAsInit  # few containers have one

    ambient = become.ambient if become.uid else None
    return (NameInit(),), (StayAsInit(ambient, become.inheritable),)


def _become_user(process: Process, *, needs_admin: bool) -> BecomeUser:
    capabilities = process.capabilities or Capabilities()
    bounding, effective, permitted, inheritable, ambient = (
        caps.mask_of(name for name in names if name in caps.NUMBERS)
        for names in _sets(capabilities)
    )
    user = process.user
    return BecomeUser(
        uid=user.uid,
        gid=user.gid,
        groups=user.additional_gids,
        umask=0o022 if user.umask is None else user.umask,
        bounding=bounding,
        effective=effective,
        permitted=permitted,
        inheritable=inheritable,
        # The kernel wants ambient capabilities permitted and inheritable, too.
        ambient=ambient & permitted & inheritable,
        keep_admin=needs_admin and not effective & caps.mask_of(["CAP_SYS_ADMIN"]),
    )


def _sets(capabilities: Capabilities) -> tuple[tuple[str, ...], ...]:
    return (
        capabilities.bounding,
        capabilities.effective,
        capabilities.permitted,
        capabilities.inheritable,
        capabilities.ambient,
    )


def warnings(process: Process) -> Iterator[str]:
    """What of a process is left out: capabilities that cannot be given are no error (config.md,
    section "Linux Process")."""
    capabilities = process.capabilities or Capabilities()
    asked = {name for names in _sets(capabilities) for name in names}
    for name in sorted(asked - caps.NUMBERS.keys()):
        yield f"ignoring the unknown capability {name}"
    able = set(capabilities.permitted) & set(capabilities.inheritable)
    lost = [name for name in capabilities.ambient if name in caps.NUMBERS and name not in able]
    if lost:  # some ask for all that they have: one line is enough
        noun, verb = ("capability", "it is") if len(lost) == 1 else ("capabilities", "they are")
        yield f"can't raise ambient {noun} {', '.join(lost)}: {verb} not permitted and inheritable"


def _kernel_ops(process: Process, personality: LinuxPersonality | None) -> Iterator[Op]:
    for limit in process.rlimits:
        number = getattr(resource, limit.type, None)
        if not limit.type.startswith("RLIMIT_") or number is None:
            raise InvalidArgument(f"unknown resource limit {limit.type!r}")
        soft, hard = (-1 if value >= _UNLIMITED else value for value in (limit.soft, limit.hard))
        yield SetRlimit(limit.type, number, soft, hard)
    if process.oom_score_adj is not None:
        yield SetOomScore(process.oom_score_adj)
    if process.io_priority is not None:
        io_class = _known(IO_CLASSES, process.io_priority.io_class, "I/O priority class")
        yield SetIoPriority(io_class, process.io_priority.priority)
    if process.scheduler is not None:
        yield _scheduler_op(process.scheduler)
    if personality is not None:
        yield SetPersonality(_known(PERSONALITIES, personality.domain, "personality"))


def _known(table: dict[str, int], name: str, kind: str) -> int:
    if name not in table:
        raise InvalidArgument(f"unknown {kind} {name!r}")
    return table[name]


def _scheduler_op(scheduler: Scheduler) -> Op:
    flags = 0
    for name in scheduler.flags:
        flags |= _known(SCHEDULER_FLAGS, name, "scheduler flag")
    return SetScheduler(
        policy=_known(POLICIES, scheduler.policy, "scheduling policy"),
        flags=flags,
        nice=scheduler.nice,
        priority=scheduler.priority,
        runtime=scheduler.runtime,
        deadline=scheduler.deadline,
        period=scheduler.period,
    )


def parse_cpus(text: str) -> tuple[int, ...]:
    """Processor numbers of a list such as ``0-3,7``; InvalidArgument."""
    cpus: set[int] = set()
    try:
        for part in text.replace(" ", "").split(","):
            first, dash, last = part.partition("-")
            end = int(last if dash else first)
            if end > _MAX_CPU:
                raise ValueError
            cpus.update(range(int(first), end + 1))
    except ValueError:
        raise InvalidArgument(f"the processor list {text!r} is malformed") from None
    return tuple(sorted(cpus))


def _label_ops(process: Process, own_init: bool) -> Iterator[Op]:
    profile = process.apparmor_profile
    if profile and own_init:  # it executes nothing, so that it changes at once, and its child too
        yield SetSecurityLabel("apparmor/current", f"changeprofile {profile}", "AppArmor")
    elif profile:
        yield SetSecurityLabel("apparmor/exec", f"exec {profile}", "AppArmor")
    if process.selinux_label:
        yield SetSecurityLabel("exec", process.selinux_label, "SELinux")
