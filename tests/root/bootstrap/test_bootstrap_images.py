"""Base images made for real: by the host's package tools, into a real store."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.patience import patience

from wherry.bootstrap import Bootstrapper
from wherry.build.api import Output, RunStep, StepOutcome
from wherry.errors import InternalError, NotFound, Unavailable
from wherry.model.container import ContainerConfig
from wherry.model.reference import parse_reference
from wherry.snapshot.api import OverlayMount
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.api import Image
from wherry.store.blobs import BlobStore
from wherry.store.database import Database
from wherry.store.images import ImageStore

pytestmark = pytest.mark.root

_NO_PROXY: dict[str, str] = {}


@dataclass(frozen=True)
class ChrootRunner:
    """Runs steps by chroot in a mount namespace that ends with them."""

    snapshots: OverlaySnapshotter

    def run(self, step: RunStep, output: Output, cancel: threading.Event) -> StepOutcome:
        made: list[str] = []
        script = ["set -e", self._mount(self.snapshots.mounts(step.snapshot))]
        for mount in step.host.mounts or ():
            script.append(f"mkdir -p root{os.path.dirname(mount.target)}; : >>root{mount.target}")
            script.append(f"mount --bind {shlex.quote(mount.source)} root{mount.target}")
            made += [mount.target, os.path.dirname(mount.target)]
        script.append("for d in dev proc; do mkdir -p root/$d; mount --rbind /$d root/$d; done")
        script.append(
            "touch root/etc/resolv.conf; mount --bind /etc/resolv.conf root/etc/resolv.conf"
        )
        script.append('exec chroot root env -i "$@"')
        code = self._execute("\n".join(script), step.config, output)
        os.rmdir(os.path.join(os.path.dirname(self._work(step)), "root"))
        return StepOutcome(exit_code=code, created_mountpoints=(*made, "/etc/resolv.conf"))

    def _work(self, step: RunStep) -> str:
        return self.snapshots.mounts(step.snapshot).work or ""

    def _mount(self, mount: OverlayMount) -> str:
        assert mount.upper
        assert mount.work
        options = f"lowerdir={':'.join(mount.lower)},upperdir={mount.upper},workdir={mount.work}"
        return f"cd {os.path.dirname(mount.work)}; mkdir root; mount -t overlay o -o {options} root"

    def _execute(self, script: str, config: ContainerConfig, output: Output) -> int:
        command = ["unshare", "-m", "sh", "-c", script, "sh", *(config.env or ())]
        with subprocess.Popen(
            [*command, *(config.cmd or ())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout
            for line in process.stdout:
                output("stdout", line)
        return process.returncode


@dataclass
class Machine:
    """A store and what makes images for it."""

    root: Path

    def __post_init__(self) -> None:
        self.db = Database(str(self.root / "state.db"))
        self.blobs = BlobStore(str(self.root / "blobs"))
        self.snapshots = OverlaySnapshotter(str(self.root / "layers"), self.db)
        self.images = ImageStore(self.db, self.blobs, self.snapshots)
        self.lines: list[str] = []
        self.bootstrapper = Bootstrapper(
            self.images,
            self.snapshots,
            ChrootRunner(self.snapshots),
            environment=_NO_PROXY,
            temp_dir=str(self.root),
        )

    def make(self, name: str) -> Image:
        return self.bootstrapper.bootstrap(name, lambda line: self.lines.append(str(line)))

    def run(self, image: Image, *command: str) -> str:
        """What a command prints in the image's tree, or why it failed."""
        assert image.chain_id
        fd = self.snapshots.open_root(image.chain_id)
        try:
            done = subprocess.run(
                ["chroot", f"/proc/self/fd/{fd}", *command],
                check=False,
                capture_output=True,
                text=True,
                pass_fds=(fd,),
                env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
            )
        finally:
            os.close(fd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.snapshots.drain()
    made.db.close()


@pytest.fixture
def debian_host(need: Callable[[str], None], tmp_path: Path) -> None:
    """The host has Debian's tools and a mirror that answers."""
    need("mmdebstrap")
    helper = ["/usr/lib/apt/apt-helper", "-o", "Acquire::Retries=0", "download-file"]
    uri = "http://deb.debian.org/debian/dists/bookworm/Release"
    done = subprocess.run(
        [*helper, uri, str(tmp_path / "Release")],
        check=False,
        capture_output=True,
        timeout=patience(60),
    )
    if done.returncode != 0:
        pytest.skip("no Debian mirror can be reached")


def test_busybox(machine: Machine) -> None:
    image = machine.make("busybox")
    assert image.references == ("docker.io/library/busybox:latest",)
    assert image.config.config.cmd == ("sh",)
    assert "busybox-static=" in (image.config.config.labels or {})["org.wherry.bootstrap.packages"]
    assert machine.run(image, "sh", "-c", "echo hello | tr a-z A-Z; ls -ld /tmp").startswith(
        "HELLO\ndrwxrwxrwt"
    )
    assert machine.run(image, "/usr/bin/env", "id", "-un") == "root\n"
    assert image.size < 4_000_000


def test_busybox_is_the_same_each_time(machine: Machine) -> None:
    assert machine.make("busybox").id == machine.make("busybox:latest").id


def test_tool_that_fails_leaves_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that is not there: no image, no layer, no temporary file."""
    apt = machine.root / "apt"
    apt.mkdir()
    (apt / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    before = sorted(os.listdir(machine.root))
    bootstrapper = Bootstrapper(
        machine.images,
        machine.snapshots,
        ChrootRunner(machine.snapshots),
        environment=_NO_PROXY,
        temp_dir=str(machine.root),
        apt_directory=apt,
    )
    with pytest.raises(
        Unavailable, match=r"cannot reach the package mirror http://127.0.0.1:9/debian"
    ):
        bootstrapper.bootstrap("debian:bookworm-slim", lambda _: None)
    assert machine.images.list() == ()
    assert sorted(os.listdir(machine.root)) == before


@pytest.mark.usefixtures("debian_host")
def test_step_that_fails_leaves_no_snapshot(machine: Machine) -> None:
    base = machine.make("busybox")  # has no apt-get
    name = "docker.io/library/debian:bookworm-slim"
    machine.images.tag(base.id, parse_reference(name))
    with pytest.raises(InternalError, match=r"installing Python ended with code 127: .*apt-get"):
        machine.make("python:3.11-slim")
    assert all(info.kind == "committed" for info in machine.snapshots.list())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("debian_host")
def test_debian_and_python(machine: Machine) -> None:
    python = machine.make("python:3.11-slim")
    debian = machine.images.get("debian:bookworm-slim")
    labels = debian.config.config.labels or {}
    assert labels["org.wherry.bootstrap.source"].startswith("debian 12 (bookworm) from http")
    assert debian.config.config.cmd == ("bash",)
    assert debian.size < 90_000_000
    assert python.layers[:1] == debian.layers
    assert python.parent == debian.id
    assert python.config.config.cmd == ("python3",)
    assert machine.run(python, "python", "-c", "print(6 * 7)") == "42\n"
    assert "python 3.11" in machine.run(python, "pip", "--version")
    assert machine.run(debian, "sh", "-c", "apt-get --version >/dev/null; dpkg -l apt | tail -n1")
    assert machine.run(debian, "ls", "/var/lib/apt/lists", "/usr/share/man").count("\n") < 6
    assert "signed-by=" in machine.run(debian, "cat", "/etc/apt/sources.list")
    assert (
        machine.run(python, "sh", "-c", "ls /run; ls -a /etc/resolv.conf 2>&1 || true").split("\n")[
            0
        ]
        != "wherry"
    )


def test_unknown_names(machine: Machine) -> None:
    with pytest.raises(NotFound, match=r"python:3.7-slim: .* 3.9 \(bullseye\), 3.11 \(bookworm\)"):
        machine.make("python:3.7-slim")
