"""Bundles for an OCI runtime that is called by its command line, ours or another.

``WHERRY_TEST_RUNTIME`` names another one's program (``runc``), so that the cases themselves can be
checked against it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patience import patience

OTHER = os.environ.get("WHERRY_TEST_RUNTIME", "")
_OURS = Path(sys.executable).with_name("wherry-runtime")
_INSTALLED = (str(_OURS),) if _OURS.exists() else (sys.executable, "-m", "wherry.runtime")
COMMAND = (OTHER,) if OTHER else _INSTALLED
PATIENCE = patience(20.0)
APPLETS = """
    cat chmod chown dd echo env false grep head hostname id kill ln ls mkdir mknod mount nice ps pwd
    readlink sed sh sleep stat tail test touch true umount uname wc
""".split()
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"]

Config = dict[str, Any]
Done = subprocess.CompletedProcess[str]


def make_layer(root: Path) -> Path:
    """A tree with busybox."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    for name in ("bin", "etc", "tmp", "data", "proc", "dev", "sys"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "data/file").write_text("from the image\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    shutil.copy(busybox, root / "bin/busybox")
    for name in APPLETS:
        os.link(root / "bin/busybox", root / "bin" / name)
    return root


def mount(destination: str, kind: str, source: str, *options: str) -> Config:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def base_config(*args: str) -> Config:
    """A confined process with the mounts that engines give."""
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": {
            "args": list(args),
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {
                name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
        },
        "mounts": [
            mount("/proc", "proc", "proc"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"),
            mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


@dataclass
class Bundles:
    """Containers of one test. Every one is removed by :meth:`clean`."""

    directory: Path
    layer: Path
    prefix: str
    count: int = 0
    names: list[str] = field(default_factory=list)

    def call(self, *args: str, **options: Any) -> Done:
        """Call the runtime; its output is captured."""
        return subprocess.run(
            [*self.command(), *args],
            check=options.pop("check", True),
            text=True,
            timeout=PATIENCE,
            capture_output=True,
            **options,
        )

    def call_quietly(self, *args: str) -> None:
        """Call the runtime for something that lives on, which would hold pipes open."""
        subprocess.run(
            [*self.command(), *args],
            check=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self) -> tuple[str, ...]:
        return (*COMMAND, "--root", str(self.directory / "root"))

    def bundle(self, config: Config) -> tuple[str, Path]:
        """A bundle with a tree of its own; the name for its container, and its directory."""
        self.count += 1
        name = f"{self.prefix}-{self.count}"
        where = self.directory / name
        where.mkdir()
        subprocess.run(["cp", "-a", str(self.layer), str(where / "rootfs")], check=True)
        config["linux"].setdefault("cgroupsPath", f"/{self.prefix}/{name}")
        (where / "config.json").write_text(json.dumps(config))
        self.names.append(name)
        return name, where

    def run(self, *args: str, edit: Callable[[Config], object] = id, **options: Any) -> Done:
        """Run a command to its end. ``edit`` changes the configuration before."""
        config = base_config(*args)
        edit(config)
        name, where = self.bundle(config)
        return self.call(
            "run", "--bundle", str(where), name, check=False, stdin=subprocess.DEVNULL, **options
        )

    def lines(self, *args: str, edit: Callable[[Config], object] = id) -> list[str]:
        """What a command prints that ends well."""
        done = self.run(*args, edit=edit)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.splitlines()

    def create(self, *args: str, edit: Callable[[Config], object] = id) -> str:
        """Create a container whose output goes to ``output`` in its bundle; its name."""
        config = base_config(*args)
        edit(config)
        name, where = self.bundle(config)
        with (where / "output").open("w") as output:
            subprocess.run(
                [*self.command(), "create", "--bundle", str(where), name],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=PATIENCE,
            )
        return name

    def start(self, *args: str, edit: Callable[[Config], object] = id) -> str:
        name = self.create(*args, edit=edit)
        self.call("start", name)
        return name

    def output(self, name: str) -> str:
        return (self.directory / name / "output").read_text()

    def state(self, name: str) -> Config:
        found: Config = json.loads(self.call("state", name).stdout)
        return found

    def await_status(self, name: str, status: str) -> None:
        eventually(lambda: self.state(name)["status"] == status)

    def clean(self) -> None:
        for name in self.names:
            if (self.directory / "root" / name).exists():  # else it was removed when it ended
                self.call("delete", "--force", name, check=False)
        cgroups = Path("/sys/fs/cgroup")
        for directory in [cgroups, *cgroups.iterdir()]:
            if (directory / self.prefix).is_dir():
                (directory / self.prefix).rmdir()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("the condition never became true")
