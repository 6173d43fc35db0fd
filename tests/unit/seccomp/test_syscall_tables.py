"""The committed tables against the kernel headers that this machine has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wherry.runtime.seccomp.tables import syscall_numbers

HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "i386": "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
    "x32": "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h",
}


@pytest.mark.parametrize("table", HEADERS)
def test_tables_agree_with_the_kernel_headers(table: str) -> None:
    header = Path(HEADERS[table])
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    pattern = r"#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)"
    theirs = {name: int(number) for name, number in re.findall(pattern, header.read_text())}
    ours = syscall_numbers(table)
    assert len(theirs) > 300
    assert {name: ours.get(name) for name in theirs} == theirs


def test_numbers_that_are_the_same_everywhere() -> None:
    for table in ("x86_64", "x32", "i386", "aarch64", "arm"):
        numbers = syscall_numbers(table)
        assert (numbers["clone3"], numbers["mseal"]) == (435, 462)


@pytest.mark.parametrize(
    ("table", "known"),
    [
        ("aarch64", {"openat": 56, "clone": 220, "execve": 221, "statx": 291, "io_setup": 0}),
        ("arm", {"read": 3, "cacheflush": 0xF0002, "arm_fadvise64_64": 270, "mmap2": 192}),
        ("x32", {"read": 0, "execve": 520, "ioctl": 514}),
    ],
)
def test_known_numbers(table: str, known: dict[str, int]) -> None:
    numbers = syscall_numbers(table)
    assert {name: numbers[name] for name in known} == known


@pytest.mark.parametrize("table", ["x86_64", "x32", "i386", "aarch64", "arm"])
def test_names_are_plain(table: str) -> None:
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in syscall_numbers(table))
