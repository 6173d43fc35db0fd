"""Words that a configuration may not have are refused with their path, and the whole one is not."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from wherry.errors import InvalidArgument, NotSupported, WherryError
from wherry.model.runtime_spec import Spec
from wherry.runtime.plan.words import check_spec

CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "cwd": "/",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}],
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 0},
        "scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
    },
    "mounts": [{"destination": "/a/../b/.././c"}, {"destination": "relative"}],
    "linux": {
        "devices": [{"type": "c", "path": "/dev/x"}],
        "personality": {"domain": "LINUX32"},
        "rootfsPropagation": "rslave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
    },
}


def changed(path: tuple[str | int, ...], value: object) -> Spec:
    config = copy.deepcopy(CONFIG)
    place: Any = config
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return msgspec.convert(config, Spec)


def shown(path: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def test_all_of_these_words_are_known() -> None:
    check_spec(msgspec.convert(CONFIG, Spec))


SECCOMP = ("linux", "seccomp")


@pytest.mark.parametrize(
    "path",
    [
        ("process", "rlimits", 0, "type"),
        ("process", "ioPriority", "class"),
        ("process", "scheduler", "policy"),
        ("process", "scheduler", "flags", 0),
        ("linux", "devices", 0, "type"),
        ("linux", "personality", "domain"),
        ("linux", "rootfsPropagation"),
        (*SECCOMP, "defaultAction"),
        (*SECCOMP, "architectures", 1),
        (*SECCOMP, "flags", 0),
        (*SECCOMP, "syscalls", 0, "action"),
        (*SECCOMP, "syscalls", 0, "args", 0, "op"),
    ],
    ids=shown,
)
def test_a_word_that_is_not_known(path: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_spec(changed(path, "MOON"))
    assert str(caught.value).startswith("unknown ")
    assert str(caught.value).endswith(f"'MOON' at {shown(path)}")


@pytest.mark.parametrize("section", ["vm", "zos", "windows", "solaris", "freebsd"])
def test_a_section_of_another_platform(section: str) -> None:
    with pytest.raises(NotSupported) as caught:
        check_spec(changed((section,), {}))
    assert str(caught.value) == (
        f"$.{section} is not supported: it is for another platform than Linux"
    )


@pytest.mark.parametrize("version", ["", "1", "1.2", "one.two.three", "2.0.0", "0.9.0", "1.2.x"])
def test_a_version_that_is_none_or_not_ours(version: str) -> None:
    with pytest.raises(WherryError) as caught:
        check_spec(changed(("ociVersion",), version))
    assert "$.ociVersion" in str(caught.value)


@pytest.mark.parametrize("destination", ["/..", "..", "/a/../../b", "/../etc"])
def test_a_mount_outside_of_the_root(destination: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_spec(changed(("mounts", 1, "destination"), destination))
    assert "at $.mounts[1].destination is outside" in str(caught.value)


def test_a_limit_that_is_listed_twice() -> None:
    limit = CONFIG["process"]["rlimits"][0]
    with pytest.raises(InvalidArgument) as caught:
        check_spec(changed(("process", "rlimits"), [limit, limit]))
    assert "at $.process.rlimits[1].type is listed twice" in str(caught.value)
