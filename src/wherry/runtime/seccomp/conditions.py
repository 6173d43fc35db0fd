"""Conditions on the arguments of a system call, as pieces of a filter.

The accumulator of classic BPF has 32 bits, so that a 64-bit argument is compared by its high word
and then by its low one. A piece falls through where the condition holds, and skips ``after`` more
instructions where it does not.
"""

from __future__ import annotations

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import LinuxSeccompArg
from wherry.runtime.seccomp import program as bpf

_LOW = 0xFFFFFFFF
_MAX_ARGUMENTS = 6

# Operator: the comparison, and whether it is negated.
_ORDERED = {
    "SCMP_CMP_GE": (bpf.BPF_JGE, False),
    "SCMP_CMP_GT": (bpf.BPF_JGT, False),
    "SCMP_CMP_LT": (bpf.BPF_JGE, True),
    "SCMP_CMP_LE": (bpf.BPF_JGT, True),
}
_EQUAL = {"SCMP_CMP_EQ": False, "SCMP_CMP_NE": True}
_MASKED = "SCMP_CMP_MASKED_EQ"
OPERATORS = frozenset({*_ORDERED, *_EQUAL, _MASKED})


def check(argument: LinuxSeccompArg) -> None:
    """InvalidArgument if there is no such argument, operator or value."""
    if not 0 <= argument.index < _MAX_ARGUMENTS:
        raise InvalidArgument(
            f"argument index {argument.index} in the seccomp profile is not in 0..5"
        )
    if argument.op not in OPERATORS:
        raise InvalidArgument(f"unknown operator {argument.op!r} in the seccomp profile")
    for value in (argument.value, argument.value_two):
        if not 0 <= value < 1 << 64:
            raise InvalidArgument(f"value {value} in the seccomp profile is not in 0..2**64-1")


def compare(argument: LinuxSeccompArg, after: int, *, wide: bool) -> bpf.Piece:
    """The piece for one condition; on a 32-bit architecture (not ``wide``) values are cut."""
    if argument.op == _MASKED:
        return _masked(argument, after, wide)
    if argument.op in _EQUAL:
        return _equal(argument, after, wide, negated=_EQUAL[argument.op])
    code, negated = _ORDERED[argument.op]
    return _ordered(argument, after, wide, code, negated)


def _words(argument: LinuxSeccompArg) -> tuple[bpf.Instruction, bpf.Instruction]:
    low = bpf.OFFSET_ARGS + 8 * argument.index
    return bpf.load(low + 4), bpf.load(low)


def _test(code: int, value: int, after: int, negated: bool) -> bpf.Instruction:
    """The last test: fall through if it holds (or does not, ``negated``), else skip ``after``."""
    return bpf.test(code, value & _LOW, after if negated else 0, 0 if negated else after)


def _equal(argument: LinuxSeccompArg, after: int, wide: bool, *, negated: bool) -> bpf.Piece:
    load_high, load_low = _words(argument)
    tail = (load_low, _test(bpf.BPF_JEQ, argument.value, after, negated))
    if not wide:
        return tail
    differs = len(tail) if negated else after + len(tail)
    return (load_high, bpf.test(bpf.BPF_JEQ, argument.value >> 32, 0, differs), *tail)


def _masked(argument: LinuxSeccompArg, after: int, wide: bool) -> bpf.Piece:
    load_high, load_low = _words(argument)
    wanted, bits = argument.value_two, argument.value
    tail = (load_low, bpf.mask(bits & _LOW), _test(bpf.BPF_JEQ, wanted, after, False))
    if not wide:
        return tail
    differs = after + len(tail)
    high_test = bpf.test(bpf.BPF_JEQ, wanted >> 32, 0, differs)
    return (load_high, bpf.mask(bits >> 32), high_test, *tail)


def _ordered(
    argument: LinuxSeccompArg, after: int, wide: bool, code: int, negated: bool
) -> bpf.Piece:
    load_high, load_low = _words(argument)
    tail = (load_low, _test(code, argument.value, after, negated))
    if not wide:
        return tail
    holds, fails = len(tail), after + len(tail)
    greater, less = (fails, holds) if negated else (holds, fails)
    high = argument.value >> 32
    return (
        load_high,
        bpf.test(bpf.BPF_JGT, high, greater + 1, 0),
        bpf.test(bpf.BPF_JEQ, high, 0, less),
        *tail,
    )
