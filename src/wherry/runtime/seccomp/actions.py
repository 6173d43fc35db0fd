"""Actions of a profile and what the kernel calls them (seccomp(2))."""

from __future__ import annotations

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import LinuxSeccomp

EPERM = 1
ENOSYS = 38

SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_ERRNO = 0x00050000

ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": SECCOMP_RET_ERRNO,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_NOTIFY = "SCMP_ACT_NOTIFY"
_WITH_DATA = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_MAX_ERRNO = 4095

# A tracer emulates calls it does not know itself, so ENOSYS would be in its way.
PERMISSIVE = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"})

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}


def return_value(action: str, errno_ret: int | None) -> int:
    """The ``SECCOMP_RET_*`` value of an action; its data default to EPERM. InvalidArgument."""
    if action not in ACTIONS:
        raise InvalidArgument(f"unknown action {action!r} in the seccomp profile")
    if action not in _WITH_DATA:
        return ACTIONS[action]
    data = EPERM if errno_ret is None else errno_ret
    if not 0 <= data <= _MAX_ERRNO:
        raise InvalidArgument(f"errnoRet {data} in the seccomp profile is not in 0..{_MAX_ERRNO}")
    return ACTIONS[action] | data


def filter_flags(seccomp: LinuxSeccomp) -> int:
    """The ``flags`` argument of seccomp(2) that a profile asks for; InvalidArgument."""
    flags = 0
    for name in seccomp.flags:
        if name not in FLAGS:
            raise InvalidArgument(f"unknown flag {name!r} in the seccomp profile")
        flags |= FLAGS[name]
    return flags


def needs_listener(seccomp: LinuxSeccomp) -> bool:
    """Whether an agent is asked; InvalidArgument if it cannot be.

    It cannot be asked about the very call that tells it of the listener.
    """
    calls = {name for rule in seccomp.syscalls if rule.action == _NOTIFY for name in rule.names}
    if seccomp.default_action == _NOTIFY or "sendmsg" in calls:
        raise InvalidArgument(f"{_NOTIFY} in the seccomp profile cannot be for sendmsg")
    if calls and not seccomp.listener_path:
        raise InvalidArgument(f"{_NOTIFY} in the seccomp profile needs a listenerPath")
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise InvalidArgument("listenerMetadata in the seccomp profile needs a listenerPath")
    return bool(calls)
