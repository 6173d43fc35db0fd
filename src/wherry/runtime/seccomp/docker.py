"""Profiles in Docker's JSON format, as ``--security-opt seccomp=FILE`` passes them.

The format is that of the runtime specification with conditions of its own: ``includes`` and
``excludes`` by capability, architecture and kernel version, and ``archMap`` for the architectures
that come with the machine's own. Fields that are not known are ignored, as Docker does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.decoding import decoded
from wherry.model.malformed import MALFORMED
from wherry.model.runtime_spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from wherry.runtime.seccomp.architectures import native

KernelVersion = tuple[int, int]

# Docker names architectures as Go does.
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class _Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class _Filter(_Struct, frozen=True, kw_only=True):
    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class _Argument(_Struct, frozen=True, kw_only=True):
    index: int
    value: int
    value_two: int = 0
    op: str


class _Rule(_Struct, frozen=True, kw_only=True):
    name: str = ""
    names: tuple[str, ...] | None = None
    action: str
    errno_ret: int | None = None
    args: tuple[_Argument, ...] | None = None
    includes: _Filter | None = None
    excludes: _Filter | None = None


class _ArchitectureMap(_Struct, frozen=True, kw_only=True):
    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class _Profile(_Struct, frozen=True, kw_only=True):
    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[_ArchitectureMap, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[_Rule, ...] | None = None


class _Host(msgspec.Struct, frozen=True):
    """What the conditions of a profile are about."""

    caps: frozenset[str]
    machine: str
    kernel: KernelVersion

    def has(self, wanted: _Filter) -> bool:
        """Whether all of a rule's ``includes`` hold."""
        if wanted.caps and not self.caps.issuperset(wanted.caps):
            return False
        if wanted.arches and _GO_NAMES.get(self.machine) not in wanted.arches:
            return False
        return not wanted.min_kernel or self.kernel >= _kernel_version(wanted.min_kernel)

    def has_any(self, unwanted: _Filter) -> bool:
        """Whether one of a rule's ``excludes`` holds."""
        if unwanted.caps and not self.caps.isdisjoint(unwanted.caps):
            return True
        if unwanted.arches and _GO_NAMES.get(self.machine) in unwanted.arches:
            return True
        if not unwanted.min_kernel:
            return False
        return self.kernel >= _kernel_version(unwanted.min_kernel)


def load_profile(
    json_bytes: bytes, caps: Iterable[str], kernel: KernelVersion, machine: str = ""
) -> LinuxSeccomp:
    """Read a profile for a container with the bounding set ``caps`` on this ``kernel``.

    ``machine`` is the processor as uname(2) names it, this one's by default. InvalidArgument
    says what is wrong with the profile.
    """
    profile = _decode(json_bytes)
    host = _Host(frozenset(caps), machine or os.uname().machine, kernel)
    return LinuxSeccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=_architectures(profile, host.machine),
        flags=profile.flags or (),
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=tuple(_syscall(r) for r in profile.syscalls or () if _applies(r, host)),
    )


def _decode(json_bytes: bytes) -> _Profile:
    try:
        return decoded(json_bytes, _Profile)
    except MALFORMED as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from None


def _architectures(profile: _Profile, machine: str) -> tuple[str, ...]:
    if profile.architectures and profile.arch_map:
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    own = native(machine).name
    for entry in profile.arch_map or ():
        if entry.architecture == own:
            return (own, *(entry.sub_architectures or ()))
    return profile.architectures or ()


def _applies(rule: _Rule, host: _Host) -> bool:
    if rule.excludes is not None and host.has_any(rule.excludes):
        return False
    return rule.includes is None or host.has(rule.includes)


def _syscall(rule: _Rule) -> LinuxSyscall:
    if rule.name and rule.names:
        raise InvalidArgument(
            "both 'name' and 'names' are specified in the seccomp profile, "
            "use either 'name' or 'names'"
        )
    return LinuxSyscall(
        names=(rule.name,) if rule.name else rule.names or (),
        action=rule.action,
        errno_ret=rule.errno_ret,
        args=tuple(
            LinuxSeccompArg(index=a.index, value=a.value, value_two=a.value_two, op=a.op)
            for a in rule.args or ()
        ),
    )


def _kernel_version(text: str) -> KernelVersion:
    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})(?:\.\d{1,9})*", text)
    if not match:
        raise InvalidArgument(f"invalid kernel version {text!r} in the seccomp profile")
    return int(match[1]), int(match[2])
