from __future__ import annotations

import struct

import pytest

from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from wherry.runtime.seccomp.actions import filter_flags
from wherry.runtime.seccomp.compiler import compile_filter

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"


def profile(*rules: LinuxSyscall, default: str = ERRNO, **more: object) -> LinuxSeccomp:
    return LinuxSeccomp(default_action=default, syscalls=rules, **more)  # type: ignore[arg-type]


def rule(name: str, action: str = ALLOW, *args: LinuxSeccompArg) -> LinuxSyscall:
    return LinuxSyscall(names=(name,), action=action, args=args)


def instructions(seccomp: LinuxSeccomp) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("=HBBI", compile_filter(seccomp, "x86_64")))


def test_smallest_program() -> None:
    program = instructions(profile(default=ALLOW))
    assert program == [
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 0, 4, 0xC000003E),  # x86-64? else kill
        (0x20, 0, 0, 0),  # load the number
        (0x35, 0, 1, 0x40000000),  # x32?
        (0x35, 0, 1, 0xFFFFFFFF),  # a call that a tracer skips
        (0x06, 0, 0, 0x7FFF0000),
        (0x06, 0, 0, 0x80000000),
    ]


def test_neighbours_with_one_answer_cost_one_range() -> None:
    both = instructions(profile(rule("read"), rule("write")))
    one = instructions(profile(rule("read")))
    assert len(both) == len(one)


def test_unknown_names_are_skipped() -> None:
    assert instructions(profile(rule("no_such_call"))) == instructions(profile())


def test_foreign_architectures_are_skipped() -> None:
    foreign = profile(rule("read"), architectures=("SCMP_ARCH_S390X",))
    assert instructions(foreign) == instructions(profile(rule("read")))


def test_a_rule_for_a_socket_call_follows_it_into_socketcall() -> None:
    seccomp = profile(rule("socket", ERRNO), default=ALLOW, architectures=("SCMP_ARCH_X86",))
    masked = (0x54, 0, 0, 0xFFFFFFFF)
    assert masked in instructions(seccomp)


@pytest.mark.parametrize(
    ("seccomp", "words"),
    [
        (profile(default="SCMP_ACT_MAYBE"), "unknown action 'SCMP_ACT_MAYBE'"),
        (profile(rule("read", "ALLOW")), "unknown action 'ALLOW'"),
        (profile(architectures=("X86",)), "unknown architecture 'X86'"),
        (profile(default_errno_ret=5000), "errnoRet 5000"),
        (
            profile(rule("read", ALLOW, LinuxSeccompArg(index=6, value=0, op="SCMP_CMP_EQ"))),
            "argument index 6",
        ),
        (
            profile(rule("read", ALLOW, LinuxSeccompArg(index=0, value=0, op="=="))),
            "unknown operator '=='",
        ),
        (
            profile(rule("read", ALLOW, LinuxSeccompArg(index=0, value=-1, op="SCMP_CMP_EQ"))),
            "value -1",
        ),
    ],
)
def test_malformed_profiles_are_refused_by_name(seccomp: LinuxSeccomp, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        compile_filter(seccomp, "x86_64")


def test_a_profile_that_is_too_long_is_refused() -> None:
    conditions = [LinuxSeccompArg(index=0, value=i, op="SCMP_CMP_EQ") for i in range(2000)]
    with pytest.raises(InvalidArgument, match="more than the kernel's 4096"):
        compile_filter(profile(*(rule("read", ALLOW, c) for c in conditions)), "x86_64")


def test_unknown_processors_are_refused() -> None:
    with pytest.raises(NotSupported, match="sparc64"):
        compile_filter(profile(), "sparc64")


def test_flags() -> None:
    wanted = ("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG")
    assert filter_flags(profile(flags=wanted)) == 3
    assert filter_flags(profile()) == 0
    with pytest.raises(InvalidArgument, match="unknown flag 'FAST'"):
        filter_flags(profile(flags=("FAST",)))
