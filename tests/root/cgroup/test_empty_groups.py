"""Removing a group that nobody needs, and only such a one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.cgroup import open_cgroups
from wherry.model.runtime_spec import LinuxResources

pytestmark = pytest.mark.root


def directories(name: str) -> list[str]:
    return [d for d, _, _ in os.walk("/sys/fs/cgroup") if Path(d).name == name]


def test_a_group_is_removed_only_when_nothing_is_below_it(run_id: str) -> None:
    cgroups = open_cgroups()
    parent = f"/{run_id}-parent"
    child = cgroups.create(f"{parent}/child", LinuxResources())
    before = directories(f"{run_id}-parent")
    assert before
    cgroups.remove_if_empty(parent)
    assert directories(f"{run_id}-parent") == before
    child.remove()
    cgroups.remove_if_empty(parent)
    assert directories(f"{run_id}-parent") == []
    cgroups.remove_if_empty(parent)
