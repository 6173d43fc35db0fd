"""A compiled filter, run by an interpreter of classic BPF, answers as the rules say."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.model.runtime_spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from wherry.runtime.seccomp.compiler import compile_filter
from wherry.runtime.seccomp.tables import syscall_numbers

AUDIT = {"x86_64": 0xC000003E, "x32": 0xC000003E, "i386": 0x40000003}
NAMES = {
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_X86": "i386",
}
KILL_PROCESS = 0x80000000
ENOSYS = 0x00050000 | 38
RETURN = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x30000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
OPERATORS = ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
# Names that exist everywhere, some with neighbouring numbers, some only on i386 or x32's range.
CALLS = ("read", "write", "open", "close", "ioctl", "execve", "clone3", "mseal", "chmod", "uname")


def run(program: bytes, audit: int, number: int, args: Sequence[int]) -> int:
    """Interpret a filter on one call, checking every jump and load."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    data = struct.pack("<IIQ6Q", number, audit, 0, *args)
    accumulator = position = 0
    while True:
        code, jump_true, jump_false, value = instructions[position]
        position += 1
        if code == 0x06:
            return value
        if code == 0x20:
            assert value % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            position += value
        else:
            truth = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
            }[code]
            position += jump_true if truth else jump_false


def holds(condition: LinuxSeccompArg, args: Sequence[int], *, wide: bool) -> bool:
    cut = (1 << 64) - 1 if wide else 0xFFFFFFFF
    actual, value = args[condition.index] & cut, condition.value & cut
    return {
        "SCMP_CMP_EQ": actual == value,
        "SCMP_CMP_NE": actual != value,
        "SCMP_CMP_LT": actual < value,
        "SCMP_CMP_LE": actual <= value,
        "SCMP_CMP_GT": actual > value,
        "SCMP_CMP_GE": actual >= value,
        "SCMP_CMP_MASKED_EQ": actual & value == condition.value_two & cut,
    }[condition.op]


def result(action: str, errno_ret: int | None) -> int:
    if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        base = 0x50000 if action == "SCMP_ACT_ERRNO" else 0x7FF00000
        return base | (1 if errno_ret is None else errno_ret)
    return RETURN[action]


def rule_matches(rule: LinuxSyscall, args: Sequence[int], *, wide: bool) -> bool:
    truths = [holds(condition, args, wide=wide) for condition in rule.args]
    distinct = len({condition.index for condition in rule.args}) == len(rule.args)
    return all(truths) if distinct else any(truths)


def evaluate(seccomp: LinuxSeccomp, table: str, name: str, args: Sequence[int]) -> int:
    """What the rules say of a call, straight from their text."""
    for rule in seccomp.syscalls:
        if name in rule.names and rule_matches(rule, args, wide=table != "i386"):
            return result(rule.action, rule.errno_ret)
    numbers = syscall_numbers(table)
    known = [numbers[n] for rule in seccomp.syscalls for n in rule.names if n in numbers]
    permissive = seccomp.default_action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    if known and numbers[name] > max(known) and not permissive:
        return ENOSYS
    return result(seccomp.default_action, seccomp.default_errno_ret)


interesting = st.sampled_from(
    [0, 1, 2, 0x7E020000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 64) - 1]
)
words = interesting | st.integers(0, (1 << 64) - 1)
conditions = st.builds(
    LinuxSeccompArg,
    index=st.integers(0, 5),
    value=words,
    value_two=words,
    op=st.sampled_from([f"SCMP_CMP_{name}" for name in OPERATORS]),
)
actions = st.sampled_from([*RETURN, "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"])
errnos = st.none() | st.integers(0, 4095)
rules = st.builds(
    LinuxSyscall,
    names=st.lists(st.sampled_from(CALLS), min_size=1, max_size=4).map(tuple),
    action=actions,
    errno_ret=errnos,
    args=st.lists(conditions, max_size=4).map(tuple),
)
profiles = st.builds(
    LinuxSeccomp,
    default_action=actions,
    default_errno_ret=errnos,
    architectures=st.lists(st.sampled_from(list(NAMES)), max_size=3).map(tuple),
    syscalls=st.lists(rules, max_size=8).map(tuple),
)


def near(seccomp: LinuxSeccomp) -> st.SearchStrategy[tuple[int, ...]]:
    """Arguments that are likely to be near the values of the conditions."""
    values = [c.value for r in seccomp.syscalls for c in r.args] or [0]
    close = st.sampled_from(values).flatmap(
        lambda v: st.sampled_from([v, (v + 1) % (1 << 64), max(v - 1, 0), v ^ (1 << 32)])
    )
    return st.tuples(*[close | words] * 6)


@settings(max_examples=examples(300), deadline=None)
@given(data=st.data(), seccomp=profiles)
def test_program_agrees_with_the_rules(data: st.DataObject, seccomp: LinuxSeccomp) -> None:
    program = compile_filter(seccomp, "x86_64")
    assert program == compile_filter(seccomp, "x86_64")
    covered = {"SCMP_ARCH_X86_64", *seccomp.architectures}
    for architecture, table in NAMES.items():
        args = data.draw(near(seccomp))
        name = data.draw(st.sampled_from(CALLS))
        number = syscall_numbers(table)[name] + (0x40000000 if table == "x32" else 0)
        expected = evaluate(seccomp, table, name, args) if architecture in covered else KILL_PROCESS
        assert run(program, AUDIT[table], number, args) == expected


@given(seccomp=profiles, audit=st.integers(0, (1 << 32) - 1))
def test_other_architectures_are_killed(seccomp: LinuxSeccomp, audit: int) -> None:
    if audit not in AUDIT.values():
        assert run(compile_filter(seccomp, "x86_64"), audit, 0, [0] * 6) == KILL_PROCESS


@settings(max_examples=examples(100), deadline=None)
@given(seccomp=profiles, number=st.integers(470, 0x3FFFFFFF))
def test_calls_newer_than_the_profile_answer_enosys(seccomp: LinuxSeccomp, number: int) -> None:
    answer = run(compile_filter(seccomp, "x86_64"), AUDIT["x86_64"], number, [0] * 6)
    default = result(seccomp.default_action, seccomp.default_errno_ret)
    permissive = seccomp.default_action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    assert answer == (default if permissive or not seccomp.syscalls else ENOSYS)
