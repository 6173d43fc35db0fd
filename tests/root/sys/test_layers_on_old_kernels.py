"""Layers as kernels before Linux 6.5 mount them, in a mount namespace of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import patience

pytestmark = pytest.mark.root

SCRIPT = """
import os, sys
from wherry.sys import overlay, trees
overlay._RELEASE = (6, 1)
place = os.open(sys.argv[1], os.O_PATH | os.O_DIRECTORY)
mounts = open("/proc/self/mountinfo").read()
tree = trees.clone_layers(sys.argv[3:], sys.argv[2], place)
assert open("/proc/self/mountinfo").read() == mounts
assert os.listdir(sys.argv[1]) == []
print(*sorted(os.listdir(f"/proc/self/fd/{tree}")))
"""


@pytest.mark.parametrize(("subpath", "names"), [("", "d one two"), ("d", "x y")])
def test_layers_are_joined_and_nothing_stays_mounted(
    tmp_path: Path, subpath: str, names: str
) -> None:
    for layer, files in {"a": ("one", "d/x"), "b": ("two", "d/y")}.items():
        for name in files:
            path = tmp_path / layer / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    place = tmp_path / "place"
    place.mkdir()
    layers = [str(tmp_path / "a"), str(tmp_path / "b")]
    command = [sys.executable, "-c", SCRIPT, str(place), subpath, *layers]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert (done.stderr, done.stdout.strip()) == ("", names)
