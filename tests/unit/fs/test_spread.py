"""The attribute that spreads directories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wherry.fs.spread import is_spread, spread_directories


def file_system(path: Path) -> str:
    done = subprocess.run(["stat", "-fc", "%T", str(path)], capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_the_attribute_is_set_where_there_is_one(tmp_path: Path) -> None:
    if file_system(tmp_path) != "ext2/ext3":
        pytest.skip("the temporary directory is not on ext4")
    assert not is_spread(str(tmp_path))
    spread_directories(str(tmp_path))
    assert is_spread(str(tmp_path))
    spread_directories(str(tmp_path))


def test_other_file_systems_are_left_alone() -> None:
    spread_directories("/proc")
    assert not is_spread("/proc")
