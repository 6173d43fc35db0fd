"""From a profile (config-linux.md, section "Seccomp") to the program that the kernel runs.

The program looks at the architecture first, then finds the call's number by binary search over
ranges of numbers that are treated alike, so that a call costs about ten instructions. Rules are
read in order and the first that matches decides; the conditions of one rule must all hold, except
that several conditions on one argument are alternatives, as runc has it.

Calls that are newer than every call the profile names are answered ENOSYS in place of a refusal,
so that programs fall back to what they used before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from wherry.runtime.seccomp import program as bpf
from wherry.runtime.seccomp.actions import (
    ENOSYS,
    PERMISSIVE,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    return_value,
)
from wherry.runtime.seccomp.architectures import X32_BIT, Architecture, chosen
from wherry.runtime.seccomp.conditions import check, compare
from wherry.runtime.seccomp.tables import syscall_numbers
from wherry.runtime.seccomp.tables.multiplexed import MULTIPLEXED

Clause = tuple[tuple[LinuxSeccompArg, ...], int]
"""Conditions that must all hold, and the answer then."""

_PRIVATE = 0xF0000  # calls of ARM's own from here on (__ARM_NR_BASE) say nothing about newness
_NO_CALL = 0xFFFFFFFF  # what a tracer sets to skip a call
_END = 1 << 32


def compile_filter(seccomp: LinuxSeccomp, machine: str = "") -> bytes:
    """The filter as an array of ``struct sock_filter`` for seccomp(2), the same bytes each time.

    ``machine`` is the processor as uname(2) names it, this one's by default. Names that a
    processor does not have are skipped. InvalidArgument if the profile is malformed or needs more
    than 4,096 instructions, NotSupported on other processors than x86-64 and arm64.
    """
    _check(seccomp)
    by_audit: dict[int, list[Architecture]] = {}
    for architecture in chosen(seccomp.architectures, machine or os.uname().machine):
        by_audit.setdefault(architecture.audit, []).append(architecture)
    body = bpf.answer(SECCOMP_RET_KILL_PROCESS)
    for audit, members in reversed(by_audit.items()):
        body = bpf.when_equal(audit, _section(seccomp, members), body)
    return _packed(bpf.shared((bpf.load(bpf.OFFSET_ARCH), *body)))


def _check(seccomp: LinuxSeccomp) -> None:
    for rule in seccomp.syscalls:
        for argument in rule.args:
            check(argument)


def _packed(program: bpf.Piece) -> bytes:
    if len(program) > bpf.BPF_MAXINSNS:
        raise InvalidArgument(
            f"the seccomp profile needs {len(program)} instructions, "
            f"more than the kernel's {bpf.BPF_MAXINSNS}"
        )
    return bpf.pack(program)


def _section(seccomp: LinuxSeccomp, members: Iterable[Architecture]) -> bpf.Piece:
    """All calls of the architectures that report the same number, found by the call's."""
    leaves: dict[int, bpf.Piece] = {}
    for architecture in members:
        leaves.update(_leaves(seccomp, architecture))
    if X32_BIT not in leaves and any(a.table == "x86_64" for a in members):
        leaves[X32_BIT] = bpf.answer(SECCOMP_RET_KILL_PROCESS)
        leaves[_NO_CALL] = _default(seccomp)
    return (bpf.load(bpf.OFFSET_NUMBER), *_search(_merged(leaves)))


def _leaves(seccomp: LinuxSeccomp, architecture: Architecture) -> Mapping[int, bpf.Piece]:
    """What is done from each number on, up to the next one."""
    clauses = _clauses(seccomp, architecture)
    default = _default(seccomp)
    last = max((number for number in clauses if number < _PRIVATE), default=None)
    beyond = default if last is None else _beyond(seccomp)
    leaves = {0: default, _NO_CALL - architecture.offset: default}
    for number in sorted(clauses):
        leaves[number] = _leaf(clauses[number], default, architecture.wide)
        if number + 1 not in clauses:
            leaves[number + 1] = default if last is not None and number < last else beyond
    return {number + architecture.offset: leaf for number, leaf in leaves.items()}


def _default(seccomp: LinuxSeccomp) -> bpf.Piece:
    return bpf.answer(return_value(seccomp.default_action, seccomp.default_errno_ret))


def _beyond(seccomp: LinuxSeccomp) -> bpf.Piece:
    if seccomp.default_action in PERMISSIVE:
        return _default(seccomp)
    return bpf.answer(SECCOMP_RET_ERRNO | ENOSYS)


def _clauses(seccomp: LinuxSeccomp, architecture: Architecture) -> dict[int, list[Clause]]:
    """The clauses for each number, in the order of the rules."""
    numbers = syscall_numbers(architecture.table)
    clauses: dict[int, list[Clause]] = {}
    for rule in seccomp.syscalls:
        result = return_value(rule.action, rule.errno_ret)
        for number, conditions in _matches(rule, numbers, architecture):
            clauses.setdefault(number, []).append((conditions, result))
    return clauses


def _matches(
    rule: LinuxSyscall, numbers: Mapping[str, int], architecture: Architecture
) -> Iterator[tuple[int, tuple[LinuxSeccompArg, ...]]]:
    for name in rule.names:
        if name in numbers:
            for conditions in _alternatives(rule.args):
                yield numbers[name], conditions
        if architecture.table == "i386" and name in MULTIPLEXED and not rule.args:
            multiplexer, function, bits = MULTIPLEXED[name]
            yield numbers[multiplexer], (_first_is(function, bits),)


def _alternatives(args: tuple[LinuxSeccompArg, ...]) -> list[tuple[LinuxSeccompArg, ...]]:
    if len({argument.index for argument in args}) == len(args):
        return [args]
    return [(argument,) for argument in args]


def _first_is(value: int, bits: int) -> LinuxSeccompArg:
    return LinuxSeccompArg(index=0, value=bits, value_two=value, op="SCMP_CMP_MASKED_EQ")


def _leaf(clauses: list[Clause], default: bpf.Piece, wide: bool) -> bpf.Piece:
    """Try the clauses in order; those that lead where the rest leads anyway are left out."""
    unconditional = next((i for i, clause in enumerate(clauses) if not clause[0]), len(clauses))
    piece = default
    for conditions, result in reversed(clauses[: unconditional + 1]):
        then = bpf.answer(result)
        if then != piece:
            piece = _guarded(conditions, then, wide) + (piece if conditions else ())
    return piece


def _guarded(conditions: tuple[LinuxSeccompArg, ...], then: bpf.Piece, wide: bool) -> bpf.Piece:
    for argument in reversed(conditions):
        then = compare(argument, len(then), wide=wide) + then
    return then


def _merged(leaves: Mapping[int, bpf.Piece]) -> list[tuple[int, bpf.Piece]]:
    merged: list[tuple[int, bpf.Piece]] = []
    for number in sorted(leaves):
        if number < _END and (not merged or merged[-1][1] != leaves[number]):
            merged.append((number, leaves[number]))
    return merged


def _search(ranges: list[tuple[int, bpf.Piece]]) -> bpf.Piece:
    """A balanced tree of comparisons; the first range starts at the smallest number there is."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return bpf.when_at_least(ranges[middle][0], _search(ranges[middle:]), _search(ranges[:middle]))
