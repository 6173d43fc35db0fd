"""Numbers of the system calls, by architecture.

The data come from the kernel's own headers (6.1, and what was added until 6.18). A table is a
sequence of runs: the first number, then the names of it and of those that follow; ``-`` is a
number without a call.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from functools import cache

Runs = Iterable[tuple[int, str]]


def _names(runs: Runs) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for first, names in runs:
        numbers.update((name, first + i) for i, name in enumerate(names.split()) if name != "-")
    return numbers


def _runs(module: str) -> Runs:
    runs: Runs = importlib.import_module(f"{__name__}.{module}").RUNS
    return runs


@cache
def syscall_numbers(table: str) -> Mapping[str, int]:
    """The numbers in ``table``: x86_64, x32, i386, aarch64 or arm.

    The numbers of x32 come without the bit that marks them.
    """
    if table == "x32":
        return _x32()
    return _names(_runs("common")) | _names(_runs(table))


def _x32() -> Mapping[str, int]:
    from wherry.runtime.seccomp.tables.x32 import MISSING, RUNS

    missing = frozenset(MISSING.split())
    shared = {k: v for k, v in syscall_numbers("x86_64").items() if k not in missing}
    return shared | _names(RUNS)
