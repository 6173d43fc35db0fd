"""podman with ``--runtime wherry-runtime``: create, start, exec, signals and removal by another
engine (conmon calls the command line)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.patience import patience

pytestmark = pytest.mark.root

PROGRAM = Path(sys.executable).parent / "wherry-runtime"
# This machine may allow fewer than podman asks for by default.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
IMAGE = "localhost/small"

Podman = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def podman(
    tmp_path: Path, layer: Path, run_id: str, need: Callable[[str], None]
) -> Iterator[Podman]:
    """podman on storage of its own, with one image."""
    need("podman")
    if not PROGRAM.exists():
        pytest.skip("wherry-runtime is not installed beside the interpreter")
    run_root = tempfile.mkdtemp(prefix=run_id)  # podman wants a path of at most 50 characters
    places = ("--root", str(tmp_path / "root"), "--runroot", run_root)
    options = ("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", str(PROGRAM))

    def call(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *places, *options, *args],
            check=check,
            capture_output=True,
            text=True,
            timeout=patience(60.0),
        )

    archive = tmp_path / "layer.tar"
    subprocess.run(["tar", "-C", str(layer), "-cf", str(archive), "."], check=True)
    call("import", str(archive), IMAGE)
    yield call
    call("rm", "--all", "--force", "--time", "0")
    call("rmi", "--all", "--force")
    shutil.rmtree(run_root, ignore_errors=True)


def test_run_gives_output_and_status(podman: Podman) -> None:
    done = podman(
        "run", "--rm", "--network", "none", *LIMITS, IMAGE, "sh", "-c",
        "id -u; hostname; exit 3", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines()[0] == "0"


def test_a_container_in_the_background(podman: Podman) -> None:
    name = podman(
        "run", "--detach", "--network", "none", "--memory", "64m", *LIMITS, IMAGE, "sleep", "1000"
    ).stdout.strip()
    assert podman("exec", name, "cat", "/data/file").stdout == "from the image\n"
    assert podman("exec", name, "sh", "-c", "exit 4", check=False).returncode == 4
    podman("pause", name)
    assert podman("inspect", "-f", "{{.State.Status}}", name).stdout.strip() == "paused"
    podman("unpause", name)
    podman("kill", name)
    assert podman("wait", name).stdout.strip() == "137"
    podman("rm", name)
    assert podman("ps", "--all", "--quiet").stdout == ""


def test_terminals_execs_and_stops(podman: Podman) -> None:
    done = podman("run", "--rm", "-t", "--network", "none", *LIMITS, IMAGE, "tty")
    assert done.stdout.strip() == "/dev/pts/0"
    name = podman(
        "run", "--detach", "--network", "none", *LIMITS, IMAGE, "sh", "-c",
        "trap 'exit 9' TERM; while :; do sleep 0.1; done",
    ).stdout.strip()  # fmt: skip
    assert podman("exec", "-t", "--user", "1000:100", name, "id", "-u").stdout.strip() == "1000"
    assert podman("exec", "--workdir", "/data", name, "pwd").stdout == "/data\n"
    assert podman("exec", "--env", "A=b", name, "sh", "-c", "echo $A").stdout == "b\n"
    assert "sleep" in podman("top", name).stdout
    podman("stop", name)
    assert podman("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() == "9"
    podman("start", name)
    assert podman("inspect", "-f", "{{.State.Status}}", name).stdout.strip() == "running"


def test_containers_of_a_pod_share_namespaces(podman: Podman) -> None:
    # The first container stands for what podman would run to hold them.
    first = podman(
        "run", "--detach", "--network", "none", *LIMITS, IMAGE, "sleep", "1000"
    ).stdout.strip()
    shared = (
        f"--network=container:{first}",
        f"--ipc=container:{first}",
        f"--pid=container:{first}",
    )
    lines = podman(
        "run", "--rm", *shared, *LIMITS, IMAGE, "sh", "-c",
        "for n in net ipc pid; do readlink /proc/self/ns/$n; done; ps",
    ).stdout.splitlines()  # fmt: skip
    own = podman(
        "exec", first, "sh", "-c", "for n in net ipc pid; do readlink /proc/self/ns/$n; done"
    ).stdout.splitlines()
    assert lines[:3] == own
    assert any("sleep 1000" in line for line in lines)


def test_a_health_check(podman: Podman) -> None:
    name = podman(
        "run", "--detach", "--network", "none", "--health-cmd", "test -e /tmp/fine",
        "--health-interval", "disable", *LIMITS, IMAGE, "sleep", "1000",
    ).stdout.strip()  # fmt: skip
    assert podman("healthcheck", "run", name, check=False).returncode == 1
    podman("exec", name, "touch", "/tmp/fine")
    assert podman("healthcheck", "run", name).returncode == 0
