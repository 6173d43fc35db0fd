from __future__ import annotations

import json

import pytest

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import LinuxSeccomp
from wherry.runtime.seccomp.compiler import compile_filter
from wherry.runtime.seccomp.docker import load_profile
from wherry.runtime.seccomp.profile import ALWAYS, BY_CAPABILITY, default_profile
from wherry.runtime.seccomp.tables import syscall_numbers

TABLES = ("x86_64", "x32", "i386", "aarch64", "arm")
FORBIDDEN = [
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "io_uring_setup",
    "kexec_load",
    "swapon",
    "pivot_root",
    "move_pages",
]


def allowed(seccomp: LinuxSeccomp) -> set[str]:
    return {n for r in seccomp.syscalls if r.action == "SCMP_ACT_ALLOW" for n in r.names}


def loaded(document: object, *caps: str, kernel: tuple[int, int] = (6, 1)) -> LinuxSeccomp:
    return load_profile(json.dumps(document).encode(), caps, kernel, "x86_64")


def test_every_name_in_the_default_profile_is_a_system_call() -> None:
    known = set().union(*(syscall_numbers(table) for table in TABLES))
    named = {*ALWAYS, *" ".join(BY_CAPABILITY.values()).split()}
    assert named <= known
    assert len(ALWAYS) == len(set(ALWAYS))


def test_what_the_default_profile_never_allows() -> None:
    everything = default_profile(BY_CAPABILITY, "x86_64")
    assert allowed(everything).isdisjoint(FORBIDDEN)


@pytest.mark.parametrize("capability", BY_CAPABILITY)
def test_capabilities_open_their_calls(capability: str) -> None:
    calls = set(BY_CAPABILITY[capability].split()) - {"clone"}
    assert allowed(default_profile((), "x86_64")).isdisjoint(calls)
    assert allowed(default_profile((capability,), "x86_64")) >= calls


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_default_profile_is_short(machine: str) -> None:
    assert len(compile_filter(default_profile((), machine), machine)) < 8 * 1000


def test_conditions_of_dockers_format() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "x"},
            {"name": "bpf", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "9.0"}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
            {"names": ["sync"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        ],
    }
    plain = loaded(document)
    assert allowed(plain) == {"read", "ptrace", "clone"}
    assert plain.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert allowed(loaded(document, "CAP_BPF")) == {"read", "ptrace", "bpf"}


def test_null_fields_are_empty() -> None:
    document = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": None, "syscalls": None}
    assert loaded(document) == LinuxSeccomp(default_action="SCMP_ACT_ALLOW")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "Decoding seccomp profile failed"),
        ({}, "defaultAction"),
        ({"defaultAction": 1}, "Decoding seccomp profile failed"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86"],
                "archMap": [{"architecture": "SCMP_ARCH_X86_64"}],
            },
            "use either 'architectures' or 'archMap'",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}],
            },
            "use either 'name' or 'names'",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"name": "a", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}
                ],
            },
            "invalid kernel version 'new'",
        ),
    ],
)
def test_broken_documents_are_refused(document: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        loaded(document)
