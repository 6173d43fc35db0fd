"""The engine as systemd's service, by the units of contrib/systemd; skipped by name elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not Path("/run/systemd/system").is_dir(), reason="this machine is not run by systemd"
    ),
    pytest.mark.timeout(patience(120)),
]

UNITS = Path(__file__).parents[3] / "contrib/systemd"
RUNTIME_UNITS = Path("/run/systemd/system")


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=patience(60)
    )
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


class Service:
    """Our units under a name of the test's own, with roots of its own."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.sock = root / "engine.sock"
        self.paths = [RUNTIME_UNITS / f"{name}.{kind}" for kind in ("socket", "service")]
        daemon = f"{sys.executable} -m wherry.daemon -H fd://"
        own = f"--data-root {root}/data --exec-root {root}/exec"
        changes = {
            "ExecStart=wherry daemon -H fd://": f"ExecStart={daemon} {own}",
            "/run/wherry/wherry.sock": str(self.sock),
            "wherry.socket": f"{name}.socket",
        }
        for path in self.paths:
            text = (UNITS / f"wherry{path.suffix}").read_text()
            for old, new in changes.items():
                text = text.replace(old, new)
            path.write_text(text)
        run("systemctl", "daemon-reload")
        run("systemctl", "start", f"{name}.socket")

    def wherry(self, *args: str) -> str:
        host = f"unix://{self.sock}"
        return run(sys.executable, "-m", "wherry.cli", "-H", host, *args)

    def main_pid(self) -> int:
        return int(run("systemctl", "show", "-p", "MainPID", "--value", f"{self.name}.service"))

    def end(self) -> None:
        run("systemctl", "stop", f"{self.name}.service", f"{self.name}.socket", check=False)
        for path in self.paths:
            path.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", f"{self.name}.*", check=False)


@pytest.fixture
def service(tmp_path: Path, run_id: str) -> Iterator[Service]:
    made = Service(f"{run_id}-engine", tmp_path)
    yield made
    ids = made.wherry("ps", "-aq").split()
    if ids:
        made.wherry("rm", "-f", *ids)
    instance = _instance(tmp_path)
    made.end()
    # Its networks outlive an engine; nobody takes up this one again.
    run("ip", "link", "delete", f"wh{instance}0", check=False)
    run("nft", "delete", "table", "inet", f"wherry_{instance}", check=False)


def _instance(root: Path) -> str:
    from wherry.engine.settings import EngineSettings

    return EngineSettings(data_root=f"{root}/data", exec_root=f"{root}/exec").instance


def test_containers_outlive_the_service(service: Service) -> None:
    service.wherry("bootstrap", "busybox")  # the first request starts the engine
    container = service.wherry(
        "run", "-d", "--network", "none", "--memory", "64m", "busybox", "sleep", "600"
    )
    first = service.main_pid()
    assert first > 0
    pid = json.loads(service.wherry("inspect", container))[0]["State"]["Pid"]
    group = Path(f"/proc/{pid}/cgroup").read_text()
    assert service.name not in group

    run("systemctl", "stop", f"{service.name}.service")
    assert Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    run("systemctl", "daemon-reload")
    assert Path(f"/proc/{pid}/cgroup").read_text() == group

    assert service.wherry("ps", "-q", "--no-trunc") == container  # starts it again
    assert service.main_pid() not in (0, first)
    assert service.wherry("exec", container, "echo", "here") == "here"
    os.kill(service.main_pid(), 9)
    eventually(lambda: service.main_pid() not in (0, first))  # Restart=on-failure
    service.wherry("stop", "-t", "0", container)
    assert service.wherry("inspect", "-f", "{{.State.ExitCode}}", container) == "137"
