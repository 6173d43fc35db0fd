"""Rules for devices, as version 1 takes them and as a program for version 2.

Rules are read in order and the last one that names a device decides, for each kind of access of
its own (config-linux.md, section "Allowed Device list"). What no rule names is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import LinuxDeviceCgroup

_ALL_ACCESS = "rwm"

# linux/bpf.h: BPF_DEVCG_ACC_* and BPF_DEVCG_DEV_*.
_ACCESS = {"m": 1, "r": 2, "w": 4}
_TYPES = {"b": 1, "c": 2}

# Instructions of eBPF (Documentation/bpf/standardization/instruction-set.rst), 32-bit operations.
_LOAD_WORD, _MOVE, _MOVE_VALUE, _AND, _SHIFT_RIGHT = 0x61, 0xBC, 0xB4, 0x54, 0x74
_SKIP_IF_EQUAL, _SKIP_IF_NOT_EQUAL, _EXIT = 0x16, 0x56, 0x95
_INSTRUCTION = struct.Struct("=BBhI")

# Registers: the result, the context, and what the program keeps of it.
_RESULT, _CONTEXT, _TYPE, _PENDING, _MAJOR, _MINOR = range(6)


def check_rule(rule: LinuxDeviceCgroup) -> None:
    """InvalidArgument if the type, the access or a number makes no sense."""
    if rule.type not in ("", "a", "b", "c") or not set(rule.access) <= set(_ALL_ACCESS):
        raise InvalidArgument(
            f"invalid device rule {rule.type!r} {rule.access!r}: "
            "the type is one of a, b, c and the access is made of r, w, m"
        )
    for number in (rule.major, rule.minor):
        if number is not None and not -1 <= number < 1 << 32:
            raise InvalidArgument(f"invalid device number {number} in a device rule")


def legacy_commands(rule: LinuxDeviceCgroup) -> list[str]:
    """What to write to ``devices.allow`` or ``devices.deny`` for a rule.

    The kernel takes ``a`` as everything, whatever follows it, so that a rule for all devices
    that is not about every access is written for both types.
    """
    access = rule.access or _ALL_ACCESS
    if rule.type in ("b", "c"):
        return [f"{rule.type} {_number(rule.major)}:{_number(rule.minor)} {access}"]
    if set(access) == set(_ALL_ACCESS) and _any(rule.major) and _any(rule.minor):
        return ["a"]
    numbers = f"{_number(rule.major)}:{_number(rule.minor)}"
    return [f"{kind} {numbers} {access}" for kind in _TYPES]


def _any(number: int | None) -> bool:
    return number is None or number == -1


def _number(number: int | None) -> str:
    return "*" if _any(number) else str(number)


def device_program(rules: Sequence[LinuxDeviceCgroup]) -> bytes:
    """The instructions of a filter that allows what the rules allow.

    The program keeps the kinds of access that are not decided yet, goes through the rules from
    the last one, and allows when none is left; a refusal of one refuses the whole.
    """
    code = _prologue()
    for rule in reversed(rules):
        if _is_about_everything(rule):
            return code + _finish(allow=rule.allow)
        code += _rule(rule)
    return code + _finish(allow=False)


def _is_about_everything(rule: LinuxDeviceCgroup) -> bool:
    return legacy_commands(rule) == ["a"]


def _prologue() -> bytes:
    """``struct bpf_cgroup_dev_ctx``: access and type in one word, major, minor."""
    return (
        _one(_LOAD_WORD, _TYPE, _CONTEXT, offset=0)
        + _one(_MOVE, _PENDING, _TYPE)
        + _one(_AND, _TYPE, value=0xFFFF)
        + _one(_SHIFT_RIGHT, _PENDING, value=16)
        + _one(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4)
        + _one(_LOAD_WORD, _MINOR, _CONTEXT, offset=8)
    )


def _rule(rule: LinuxDeviceCgroup) -> bytes:
    body = _decision(rule)
    conditions = [(_TYPE, _TYPES[rule.type])] if rule.type in _TYPES else []
    for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor)):
        if number is not None and number != -1:
            conditions.append((register, number))
    for register, value in reversed(conditions):
        skip = len(body) // _INSTRUCTION.size
        body = _one(_SKIP_IF_NOT_EQUAL, register, offset=skip, value=value) + body
    return body


def _decision(rule: LinuxDeviceCgroup) -> bytes:
    """For a device the rule names: strike out what is allowed, or refuse what is denied."""
    access = sum(_ACCESS[letter] for letter in set(rule.access or _ALL_ACCESS))
    end = _finish(allow=rule.allow)
    skip = len(end) // _INSTRUCTION.size
    if rule.allow:
        strike = _one(_AND, _PENDING, value=~access & 7)
        return strike + _one(_SKIP_IF_NOT_EQUAL, _PENDING, offset=skip, value=0) + end
    return (
        _one(_MOVE, _RESULT, _PENDING)
        + _one(_AND, _RESULT, value=access)
        + _one(_SKIP_IF_EQUAL, _RESULT, offset=skip, value=0)
        + end
    )


def _finish(*, allow: bool) -> bytes:
    return _one(_MOVE_VALUE, _RESULT, value=int(allow)) + _one(_EXIT)


def _one(code: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    """One ``struct bpf_insn``; the registers share a byte."""
    return _INSTRUCTION.pack(code, source << 4 | target, offset, value)
