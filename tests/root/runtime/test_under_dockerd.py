"""dockerd with ``--add-runtime``: containerd's shim calls ``wherry-runtime`` for everything that
dockerd does with a container."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.patience import patience

pytestmark = pytest.mark.root

PROGRAM = Path(sys.executable).parent / "wherry-runtime"
# This machine may allow fewer than dockerd asks for by default.
OPTIONS = ("--runtime", "wherry", "--network", "none", "--ulimit", "nofile=1024:1024")
IMAGE = "small"

Docker = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def docker(tmp_path: Path, layer: Path, need: Callable[[str], None]) -> Iterator[Docker]:
    """docker on a dockerd of its own, with one image."""
    need("docker")
    need("dockerd")
    if not PROGRAM.exists():
        pytest.skip("wherry-runtime is not installed beside the interpreter")
    short = Path(tempfile.mkdtemp())  # the path of a socket is at most 107 characters long
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"runtimes": {"wherry": {"path": str(PROGRAM)}}}))
    host = f"unix://{short}/sock"

    def call(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "--host", host, *args],
            check=check,
            capture_output=True,
            text=True,
            timeout=patience(60.0),
        )

    command = [
        *("dockerd", f"--host={host}", f"--data-root={tmp_path}/data", f"--exec-root={short}/run"),
        *(f"--pidfile={short}/pid", f"--config-file={config}", "--bridge=none"),
        *("--iptables=false", "--ip6tables=false", "--storage-driver=vfs"),
    ]
    with (tmp_path / "log").open("w") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        await_answer(call, daemon)
        archive = tmp_path / "layer.tar"
        subprocess.run(["tar", "-C", str(layer), "-cf", str(archive), "."], check=True)
        call("import", str(archive), IMAGE)
        yield call
        for name in call("ps", "--all", "--quiet").stdout.split():
            call("rm", "--force", name)
    finally:
        daemon.terminate()
        daemon.wait(patience(60.0))
        shutil.rmtree(short, ignore_errors=True)


def await_answer(call: Docker, daemon: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(int(patience(60.0) / 0.2)):
        if daemon.poll() is None and call("version", check=False).returncode == 0:
            return
        pause.wait(0.2)
    raise AssertionError("dockerd did not come up")


def test_a_life_under_dockerd(docker: Docker) -> None:
    done = docker("run", "--rm", *OPTIONS, IMAGE, "sh", "-c", "id -u; exit 3", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 3)
    assert docker("run", "--rm", "-t", *OPTIONS, IMAGE, "tty").stdout == "/dev/pts/0\n"
    missing = docker("run", "--rm", *OPTIONS, IMAGE, "nosuch", check=False)
    assert missing.returncode == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in missing.stderr

    docker("run", "--detach", "--name", "one", "--memory", "64m", *OPTIONS, IMAGE, "sleep", "1000")
    assert docker("exec", "one", "cat", "/data/file").stdout == "from the image\n"
    assert docker("exec", "one", "sh", "-c", "exit 4", check=False).returncode == 4
    assert "sleep 1000" in docker("top", "one").stdout
    assert "64MiB" in docker("stats", "--no-stream", "one").stdout
    docker("update", "--memory", "128m", "--memory-swap", "256m", "one")
    assert "128MiB" in docker("stats", "--no-stream", "one").stdout
    docker("pause", "one")
    assert docker("inspect", "-f", "{{.State.Status}}", "one").stdout == "paused\n"
    docker("unpause", "one")
    docker("kill", "one")
    assert docker("wait", "one").stdout == "137\n"
    docker("start", "one")
    assert docker("inspect", "-f", "{{.State.Running}}", "one").stdout == "true\n"
    docker("rm", "--force", "one")
