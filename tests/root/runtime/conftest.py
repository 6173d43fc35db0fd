"""A root file system of busybox, and a runtime to start containers on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.root.runtime.boxes import APPLETS, Box, eventually

from wherry.runtime.client import LauncherRuntime


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only tree with busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("this machine lacks busybox")
    root = tmp_path_factory.mktemp("layer")
    root.chmod(0o755)
    for name in ("bin", "etc", "tmp", "data"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
    )
    (root / "data/file").write_text("from the image\n")
    shutil.copy(busybox, root / "bin/busybox")
    for name in APPLETS:
        os.link(root / "bin/busybox", root / "bin" / name)
    return root


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LauncherRuntime]:
    found = LauncherRuntime(str(tmp_path_factory.mktemp("exec-root")))
    # The launcher renames itself when it is up; leftovers are told apart by name.
    eventually(lambda: Path(f"/proc/{found.launcher_pid}/comm").read_text() == "wherry-launcher\n")
    yield found
    found.close()


@pytest.fixture
def box(tmp_path: Path, layer: Path, runtime: LauncherRuntime, run_id: str) -> Iterator[Box]:
    made = Box(tmp_path, layer, runtime, f"{run_id}-{uuid4().hex[:6]}")
    yield made
    made.stop_all()
    _remove_parent_cgroups(made.prefix)


def _remove_parent_cgroups(prefix: str) -> None:
    for directory in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]:
        if (directory / prefix).is_dir():
            (directory / prefix).rmdir()
