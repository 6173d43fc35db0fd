"""Any ``config.json``: a plan, or a sentence of ours, soon and in little memory."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.errors import InvalidArgument, WherryError
from wherry.runtime.launch.starter import read_spec
from wherry.runtime.oci.default import default_spec
from wherry.runtime.plan.planning import CgroupLayout, Filters, Plan, plan_container

VALID: dict[str, Any] = json.loads(msgspec.json.encode(default_spec()))
FULL: dict[str, Any] = copy.deepcopy(VALID)
FULL["linux"] |= {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}],
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "maskedPaths": ["/proc/kcore"],
    "readonlyPaths": ["/proc/sys"],
    "rootfsPropagation": "private",
    "cgroupsPath": "/a/b",
    "personality": {"domain": "LINUX32"},
    "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
    "seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {
                "names": ["read", "clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        ],
    },
    "resources": {
        "memory": {"limit": 1 << 26, "swap": -1},
        "cpu": {"shares": 100, "quota": 1000, "period": 10000, "cpus": "0-1"},
        "pids": {"limit": 10},
        "unified": {"memory.high": "1"},
        "devices": [{"allow": False, "access": "rwm"}],
    },
}
FULL["process"] |= {
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
    "scheduler": {"policy": "SCHED_BATCH", "nice": 1},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0-1", "final": "1"},
    "oomScoreAdj": 1,
    "consoleSize": {"height": 1, "width": 2},
}
FULL["hooks"] = {"prestart": [{"path": "/bin/true", "args": ["a"], "env": ["A=1"], "timeout": 1}]}
FULL["annotations"] = {"a": "b"}

TEXTS = st.sampled_from(
    ["", "/", "..", "../../x", "\0", "a\0b", "/proc/self/fd/7", "x" * 5000, "0-99999999999", "-1",
     "é", "\udc80", "\n", "=", "SCMP_CMP_EQ", "rbind", "bind,ro", "SCHED_RR", "4294967296"]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [0, 1, -1, 2**31, 2**32, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, 0.5, 1e300]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def plan_of(text: bytes) -> Plan | None:
    """What a bundle with this text is planned to be; None if it is refused by one of our errors."""
    with tempfile.TemporaryDirectory() as bundle:
        Path(bundle, "config.json").write_bytes(text)
        try:
            spec = read_spec(bundle)
            return plan_container(
                spec, "id", bundle, rootfs=None, layout=CgroupLayout(True), filters=Filters()
            )
        except WherryError:
            return None


def encoded(value: object) -> bytes:
    """JSON as others may write it: lone surrogates as escapes, numbers of any size."""
    return json.dumps(value).encode()


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    if isinstance(value, dict):
        inner = [p for key, one in value.items() for p in paths(one, (*path, key))]
    elif isinstance(value, list):
        inner = [p for key, one in enumerate(value) for p in paths(one, (*path, key))]
    else:
        inner = []
    return [path, *inner]


ALL_PATHS = [path for path in paths(FULL) if path]


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    document = copy.deepcopy(FULL)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def test_the_configurations_to_begin_with_are_good() -> None:
    """Else all that is made of them would be refused for the same reason."""
    assert plan_of(encoded(VALID)) is not None
    without_users = changed(("linux", "uidMappings"), [])
    without_users["linux"]["gidMappings"] = []
    without_users["linux"]["timeOffsets"] = {}
    assert plan_of(encoded(without_users)) is not None


@settings(max_examples=examples(300), deadline=None)
@given(st.sampled_from(ALL_PATHS), VALUES)
def test_one_changed_value(path: tuple[Any, ...], value: object) -> None:
    plan_of(encoded(changed(path, value)))


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ALL_PATHS), VALUES), min_size=2, max_size=5))
def test_several_changed_values(changes: list[tuple[tuple[Any, ...], object]]) -> None:
    document: Any = copy.deepcopy(FULL)
    for path, value in changes:
        place = document
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # another change took that place away
    plan_of(encoded(document))


@settings(max_examples=examples(100), deadline=None)
@given(VALUES.map(encoded) | st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_what_is_no_configuration(text: bytes) -> None:
    assert plan_of(text) is None


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, 4000), st.binary(max_size=3))
def test_a_damaged_file(position: int, replacement: bytes) -> None:
    text = encoded(FULL)
    position %= len(text)
    plan_of(text[:position] + replacement + text[position + 1 :])
    plan_of(text[:position])


@pytest.mark.parametrize("depth", [100, 10_000, 1_000_000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
@pytest.mark.parametrize("known", [False, True])
def test_deep_nesting(depth: int, pair: str, known: bool) -> None:
    opening = '{"a":' if pair == "{}" else "["
    deep = opening * depth + "1" + pair[1] * depth
    name = "annotations" if known else "somethingElse"
    text = f'{{"{name}": {deep}, {encoded(VALID).decode()[1:]}'
    plan = plan_of(text.encode())
    assert plan is None or (depth == 100 and not known)


def test_doubled_keys_count_once() -> None:
    """The last one wins for every reader of the file, so that none is checked and another used."""
    text = encoded(VALID).decode()
    doubled = text[:-1] + ', "hostname": "first", "hostname": "second"}'
    with tempfile.TemporaryDirectory() as bundle:
        Path(bundle, "config.json").write_text(doubled)
        assert read_spec(bundle).hostname == "second" == json.loads(doubled)["hostname"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("process", "args"), ["a\0b"]),
        (("process", "env"), ["A=\0"]),
        (("process", "cwd"), "/a\0b"),
        (("hostname",), "a\0b"),
        (("root", "path"), "root\0fs"),
        (("mounts", 0, "destination"), "/pr\0oc"),
        (("mounts", 0, "options"), ["no\0suid"]),
        (("linux", "cgroupsPath"), "/a\0b"),
    ],
)
def test_a_zero_byte_ends_no_string_early(path: tuple[Any, ...], value: object) -> None:
    """Some system call would take the part before it; the rest would have been checked for
    nothing."""
    document = changed(path, value)
    document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = []
    document["linux"]["timeOffsets"] = {}
    with tempfile.TemporaryDirectory() as bundle:
        Path(bundle, "config.json").write_bytes(encoded(document))
        with pytest.raises(InvalidArgument):
            plan_container(
                read_spec(bundle),
                "id",
                bundle,
                rootfs=None,
                layout=CgroupLayout(True),
                filters=Filters(),
            )
