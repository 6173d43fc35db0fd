"""Which execs a thread may set up: those of which nothing belongs to a whole process."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wherry.model.runtime_spec import (
    Capabilities,
    Linux,
    LinuxNamespace,
    LinuxSeccomp,
    LinuxSyscall,
    Process,
    Rlimit,
    Spec,
    User,
)
from wherry.runtime.plan.planning import CgroupLayout, Filters, plan_exec
from wherry.runtime.seccomp.profile import default_profile

_NAMESPACES = ("mount", "pid", "ipc", "uts", "cgroup", "network")


def _enterable(
    namespaces: tuple[str, ...] = _NAMESPACES,
    seccomp: LinuxSeccomp | None = None,
    container: Process | None = None,
    **process: Any,
) -> bool:
    spec = Spec(
        oci_version="1.2.0",
        process=container,
        linux=Linux(
            namespaces=tuple(LinuxNamespace(type=one) for one in namespaces), seccomp=seccomp
        ),
    )
    given = {"cwd": "/", "args": ("true",), "env": ("PATH=/bin",)} | process
    layout = CgroupLayout(unified=True)
    plan = plan_exec(
        Process(**given), spec, "c", "/b", cgroup="/c", layout=layout, filters=Filters()
    )
    return plan.enterable


def test_what_containers_have_by_default() -> None:
    assert _enterable()
    assert _enterable(seccomp=default_profile(["CAP_CHOWN"]), oom_score_adj=0)
    assert _enterable(user=User(uid=5, gid=6, additional_gids=(7,)), no_new_privileges=True)
    assert _enterable(apparmor_profile="some")


@pytest.mark.parametrize(
    "process",
    [
        {"terminal": True},
        {"rlimits": (Rlimit(type="RLIMIT_NOFILE", soft=9, hard=9),)},
        {"selinux_label": "some"},
        {"env": ("NOVALUE",)},
    ],
    ids=lambda process: next(iter(process)),
)
def test_what_is_a_process_s(process: dict[str, Any]) -> None:
    assert not _enterable(**process)


@pytest.mark.parametrize(
    "namespaces",
    [
        ("mount", "ipc"),
        (*_NAMESPACES, "user"),
        (*_NAMESPACES, "time"),
    ],
    ids=["host's PIDs", "user", "time"],
)
def test_namespaces_that_a_thread_may_not_enter(namespaces: tuple[str, ...]) -> None:
    assert not _enterable(namespaces)


@pytest.mark.parametrize("kind", ["bounding", "permitted", "ambient"])
@pytest.mark.parametrize("own", [False, True], ids=["of the container", "of the exec"])
def test_none_that_could_look_into_the_server(kind: str, own: bool) -> None:
    able = Process(cwd="/", args=("x",), capabilities=Capabilities(**{kind: ("CAP_SYS_PTRACE",)}))
    plain = msgspec.structs.replace(able, capabilities=Capabilities(bounding=("CAP_CHOWN",)))
    process = {"capabilities": (able if own else plain).capabilities}

    assert not _enterable(container=plain if own else able, **process)
    assert _enterable(container=plain, capabilities=plain.capabilities)


def test_filters_under_which_a_thread_could_not_spawn() -> None:
    profile = default_profile(["CAP_CHOWN"])
    without = tuple(
        msgspec.structs.replace(rule, names=tuple(n for n in rule.names if n != "futex"))
        for rule in profile.syscalls
    )
    assert not _enterable(seccomp=msgspec.structs.replace(profile, syscalls=without))
    no_clone = (*profile.syscalls, LinuxSyscall(names=("clone",), action="SCMP_ACT_ERRNO"))
    assert not _enterable(seccomp=msgspec.structs.replace(profile, syscalls=no_clone))
    assert not _enterable(
        seccomp=msgspec.structs.replace(profile, flags=("SECCOMP_FILTER_FLAG_TSYNC",))
    )
