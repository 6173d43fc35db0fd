"""The device filter, run by an interpreter of eBPF, answers as the rules say."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.cgroup.devices import device_program, legacy_commands
from wherry.model.runtime_spec import LinuxDeviceCgroup

ACCESS = {"m": 1, "r": 2, "w": 4}
TYPES = {"b": 1, "c": 2}
MASK = 0xFFFFFFFF


def run(program: bytes, kind: str, major: int, minor: int, access: int) -> bool:
    """Interpret a filter; an unknown instruction or a jump outside fails the test."""
    code = list(struct.iter_unpack("=BBhI", program))
    context = struct.pack("<III", access << 16 | TYPES[kind], major, minor)
    registers: dict[int, int] = {}
    position = 0
    while True:
        opcode, operands, offset, value = code[position]
        target, source = operands & 15, operands >> 4
        position += 1
        if opcode == 0x95:
            return bool(registers[0])
        if opcode == 0x61:
            assert source == 1
            (registers[target],) = struct.unpack_from("<I", context, offset)
        elif opcode == 0xBC:
            registers[target] = registers[source]
        elif opcode == 0xB4:
            registers[target] = value
        elif opcode == 0x54:
            registers[target] &= value
        elif opcode == 0x74:
            registers[target] >>= value
        else:
            equal = registers[target] & MASK == value
            if equal if {0x16: True, 0x56: False}[opcode] else not equal:
                position += offset


def names(rule: LinuxDeviceCgroup, kind: str, major: int, minor: int) -> bool:
    return (
        rule.type in ("", "a", kind)
        and rule.major in (None, -1, major)
        and rule.minor in (None, -1, minor)
    )


def allowed(
    rules: Sequence[LinuxDeviceCgroup], kind: str, major: int, minor: int, bit: str
) -> bool:
    """The last rule that is about a device and a kind of access decides."""
    verdict = False
    for rule in rules:
        if names(rule, kind, major, minor) and bit in (rule.access or "rwm"):
            verdict = rule.allow
    return verdict


numbers = st.none() | st.integers(-1, 3) | st.sampled_from([136, 2**31, 2**32 - 1])
rules = st.builds(
    LinuxDeviceCgroup,
    allow=st.booleans(),
    type=st.sampled_from(["", "a", "b", "c"]),
    major=numbers,
    minor=numbers,
    access=st.sets(st.sampled_from("rwm")).map(lambda s: "".join(sorted(s))),
)


@settings(max_examples=examples(400), deadline=None)
@given(
    given_rules=st.lists(rules, max_size=8),
    kind=st.sampled_from("bc"),
    major=st.integers(0, 3) | st.sampled_from([136, 2**31, 2**32 - 1]),
    minor=st.integers(0, 3),
    access=st.sets(st.sampled_from("rwm"), min_size=1),
)
def test_program_agrees_with_the_rules(
    given_rules: list[LinuxDeviceCgroup], kind: str, major: int, minor: int, access: set[str]
) -> None:
    bits = sum(ACCESS[letter] for letter in access)
    expected = all(allowed(given_rules, kind, major, minor, letter) for letter in access)
    assert run(device_program(given_rules), kind, major, minor, bits) == expected


@given(rule=rules)
def test_commands_of_version_1_cover_what_the_rule_says(rule: LinuxDeviceCgroup) -> None:
    commands = legacy_commands(rule)
    if commands != ["a"]:
        kinds = {command.split()[0] for command in commands}
        assert kinds == ({"b", "c"} if rule.type in ("", "a") else {rule.type})
        assert {command.split()[2] for command in commands} == {rule.access or "rwm"}
