"""What a configuration names, where its type alone does not say what it may be.

For configurations that somebody else wrote: what is not known, listed twice, or of another platform
is refused before anything is made, with its path in ``config.json``.
"""

from __future__ import annotations

import resource
from collections.abc import Container, Iterator

from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import Linux, LinuxSeccomp, Process, Rlimit, Spec
from wherry.runtime.plan.process import IO_CLASSES, PERSONALITIES, POLICIES, SCHEDULER_FLAGS
from wherry.sys.mount_options import PROPAGATION

_DEVICES = frozenset("cubp")

Word = tuple[str, str, Container[str]]  # its path, itself, and the words that there are


def check_spec(spec: Spec) -> None:
    """NotSupported or InvalidArgument, in one sentence with the field's path."""
    _check_version(spec.oci_version)
    for name in ("vm", "zos", "windows", "solaris", "freebsd"):
        if getattr(spec, name) is not None:
            raise NotSupported(f"$.{name} is not supported: it is for another platform than Linux")
    for number, mount in enumerate(spec.mounts):
        if _leaves_root(mount.destination):
            raise InvalidArgument(
                f"the mount destination {mount.destination!r} at $.mounts[{number}].destination "
                "is outside of the root file system"
            )
    if spec.process is not None:
        check_process_words(spec.process, "$.process")
    if spec.linux is not None:
        _check(_linux(spec.linux))


def check_process_words(process: Process, path: str = "$") -> None:
    """The same for a process, which begins at ``path`` of its document."""
    _check(_process(process, path))
    _check_limits(process.rlimits, f"{path}.rlimits")


def _check_version(text: str) -> None:
    major, *rest = text.split(".", 2)
    if len(rest) != 2 or not (major.isdigit() and rest[0].isdigit() and rest[1][:1].isdigit()):
        raise InvalidArgument(f"{text!r} at $.ociVersion is not a version such as 1.2.0")
    if int(major) != 1:
        raise NotSupported(f"version {text} of the specification, at $.ociVersion, is not known")


def _leaves_root(destination: str) -> bool:
    """Whether a path climbs above its root as it is written; links are followed inside the root."""
    depth = 0
    for part in destination.split("/"):
        depth += -1 if part == ".." else 1 if part not in ("", ".") else 0
        if depth < 0:
            return True
    return False


def _check(words: Iterator[Word]) -> None:
    for path, word, known in words:
        if word not in known:
            raise InvalidArgument(f"unknown value {word!r} at {path}")


def _process(process: Process, path: str) -> Iterator[Word]:
    if process.io_priority is not None:
        yield f"{path}.ioPriority.class", process.io_priority.io_class, IO_CLASSES
    if process.scheduler is not None:
        yield f"{path}.scheduler.policy", process.scheduler.policy, POLICIES
        for number, flag in enumerate(process.scheduler.flags):
            yield f"{path}.scheduler.flags[{number}]", flag, SCHEDULER_FLAGS


def _check_limits(limits: tuple[Rlimit, ...], path: str) -> None:
    """Of each type there may be one (config.md, section "POSIX process")."""
    seen: set[str] = set()
    for number, limit in enumerate(limits):
        place = f"{path}[{number}].type"
        if not limit.type.startswith("RLIMIT_") or not hasattr(resource, limit.type):
            raise InvalidArgument(f"unknown resource limit {limit.type!r} at {place}")
        if limit.type in seen:
            raise InvalidArgument(f"the resource limit {limit.type} at {place} is listed twice")
        seen.add(limit.type)


def _linux(linux: Linux) -> Iterator[Word]:
    if linux.personality is not None:
        yield "$.linux.personality.domain", linux.personality.domain, PERSONALITIES
    for number, device in enumerate(linux.devices):
        yield f"$.linux.devices[{number}].type", device.type, _DEVICES
    if linux.rootfs_propagation:
        yield "$.linux.rootfsPropagation", linux.rootfs_propagation, PROPAGATION
    if linux.seccomp is not None:
        yield from _seccomp(linux.seccomp)


def _seccomp(profile: LinuxSeccomp) -> Iterator[Word]:
    from wherry.runtime.seccomp.actions import ACTIONS, FLAGS  # not all have a filter
    from wherry.runtime.seccomp.architectures import NAMES
    from wherry.runtime.seccomp.conditions import OPERATORS

    path = "$.linux.seccomp"
    yield f"{path}.defaultAction", profile.default_action, ACTIONS
    for number, name in enumerate(profile.architectures):
        yield f"{path}.architectures[{number}]", name, NAMES
    for number, flag in enumerate(profile.flags):
        yield f"{path}.flags[{number}]", flag, FLAGS
    for number, rule in enumerate(profile.syscalls):
        yield f"{path}.syscalls[{number}].action", rule.action, ACTIONS
        for index, argument in enumerate(rule.args):
            yield f"{path}.syscalls[{number}].args[{index}].op", argument.op, OPERATORS
