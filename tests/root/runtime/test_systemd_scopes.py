"""``wherry-runtime --systemd-cgroup``: scopes where systemd runs, one sentence elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import eventually

from wherry.cgroup import open_cgroups

pytestmark = pytest.mark.root

COMMAND = (sys.executable, "-m", "wherry.runtime")
RUNS = Path("/run/systemd/system").is_dir() and open_cgroups().mode == "unified"


class Command:
    """The command line on a root and a bundle of the test's own."""

    def __init__(self, directory: Path, layer: Path, name: str) -> None:
        self.name = name
        self._directory = directory
        self.bundle = directory / "bundle"
        (directory / "root").mkdir()
        (self.bundle / "rootfs").mkdir(parents=True)
        subprocess.run(["cp", "-a", f"{layer}/.", f"{self.bundle}/rootfs/"], check=True)
        self("spec", "--bundle", str(self.bundle))

    def __call__(self, *args: str, check: bool = True) -> str:
        with (self._directory / "output").open("w+") as output:  # no pipe for a container to hold
            done = subprocess.run(
                [*COMMAND, "--root", str(self._directory / "root"), *args],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=patience(60),
            )
            output.seek(0)
            said = output.read()
        assert not check or done.returncode == 0, said
        return said

    def configure(self, cgroups_path: str, *args: str) -> None:
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"] |= {"args": list(args), "terminal": False}
        config["linux"]["cgroupsPath"] = cgroups_path
        config["linux"]["resources"] = {
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 20},
            "devices": [{"allow": False, "access": "rwm"}],
        }
        path.write_text(json.dumps(config))

    def start(self, *args: str) -> None:
        where = ("--bundle", str(self.bundle))
        self("--systemd-cgroup", "run", "--detach", *where, *args, self.name)


@pytest.fixture
def runtime(tmp_path: Path, layer: Path, run_id: str) -> Iterator[Command]:
    made = Command(tmp_path, layer, f"{run_id}-box")
    yield made
    made("delete", "--force", made.name)


@pytest.mark.skipif(RUNS, reason="systemd makes control groups here")
def test_without_systemd_it_is_refused(runtime: Command) -> None:
    runtime.configure(f"system.slice:test:{runtime.name}", "true")
    where = ("--bundle", str(runtime.bundle))
    said = runtime("--systemd-cgroup", "run", *where, runtime.name, check=False)
    assert "wherry-runtime: control groups can" in said
    assert len(said.splitlines()) == 1
    assert runtime("list", "-q") == ""


needs_systemd = pytest.mark.skipif(
    not RUNS, reason="this machine lacks systemd with control groups of version 2 alone"
)


def systemctl(*args: str) -> str:
    done = subprocess.run(
        ["systemctl", *args], check=False, capture_output=True, text=True, timeout=patience(30)
    )
    return done.stdout.strip()


@needs_systemd
@pytest.mark.timeout(patience(120))
def test_a_container_in_a_scope(runtime: Command) -> None:
    unit = f"test-{runtime.name}.scope"
    runtime.configure(f"wherry-runtime.slice:test:{runtime.name}", "sleep", "600")
    runtime.start()
    pid = json.loads(runtime("state", runtime.name))["pid"]
    path = f"/wherry.slice/wherry-runtime.slice/{unit}"
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{path}\n"
    group = Path(f"/sys/fs/cgroup{path}")
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    runtime("update", "--memory", str(32 << 20), runtime.name)
    systemctl("daemon-reload")
    assert (group / "memory.max").read_text() == f"{32 << 20}\n"
    assert systemctl("show", "-p", "MemoryMax", unit) == f"MemoryMax={32 << 20}"
    assert runtime("exec", runtime.name, "cat", "/proc/self/cgroup") == "0::/\n"
    runtime("pause", runtime.name)
    assert json.loads(runtime("state", runtime.name))["status"] == "paused"
    runtime("resume", runtime.name)
    runtime("delete", "--force", runtime.name)
    assert not group.exists()
    eventually(lambda: systemctl("list-units", "--all", "--no-legend", unit) == "")
    runtime.start()  # the name is free again


@needs_systemd
def test_paths_that_are_no_scopes_are_refused(runtime: Command) -> None:
    runtime.configure("/plain/path", "true")
    where = ("--bundle", str(runtime.bundle))
    said = runtime("--systemd-cgroup", "run", *where, runtime.name, check=False)
    assert "of format 'slice:prefix:name'" in said


@needs_systemd
def test_a_name_in_use_is_a_conflict(runtime: Command) -> None:
    runtime.configure(f":test:{runtime.name}", "sleep", "600")
    runtime.start()
    where = ("--bundle", str(runtime.bundle))
    said = runtime("--systemd-cgroup", "run", *where, f"{runtime.name}2", check=False)
    assert "is in use" in said
    assert json.loads(runtime("state", runtime.name))["status"] == "running"
