"""What an engine is to the benchmark."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.http import Api
from bench.processes import CommandError, run, stop, wait_for


class Engine:
    """A private engine below ``directory``: nothing of it is shared with another on the machine."""

    name = ""
    outlived = False
    """Whether containers outlive the engine as it is started here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "api.sock"
        self.process: subprocess.Popen[bytes] | None = None

    # --- for each kind --------------------------------------------------------------------

    @classmethod
    def is_installed(cls) -> bool:
        return shutil.which(cls.name) is not None

    def version(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        """The program that serves the API on ``socket``."""
        raise NotImplementedError

    def cli(self) -> list[str]:
        """The engine's own command line, as far as the command."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What is needed before the first start."""

    def clean(self) -> None:
        """What is to be done after the end."""

    # --- for all --------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """For the engine and for its command lines."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "WHERRY_"))}
        return {**kept, "DOCKER_CONFIG": str(self.directory / "docker-config")}

    def docker(self) -> list[str]:
        """Docker's command line, speaking to this engine."""
        return ["docker", "-H", f"unix://{self.socket}"]

    @property
    def run_directory(self) -> Path:
        """What need not outlive a boot; a file system in memory, as ``/run`` is on most hosts."""
        return self.directory / "run"

    def _mount_run_directory(self) -> None:
        if not os.path.ismount(self.run_directory):
            self.run_directory.mkdir(parents=True, exist_ok=True)
            run(("mount", "-t", "tmpfs", "tmpfs", str(self.run_directory)), dict(os.environ))

    def start(self) -> None:
        self._mount_run_directory()
        config = self.directory / "docker-config"
        config.mkdir(parents=True, exist_ok=True)
        (config / "config.json").write_text("{}")  # podman insists on it
        self.prepare()
        self.start_process()

    def start_process(self) -> None:
        """The engine itself, and wait until it answers; also after it was killed."""
        with open(self.directory / "engine.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
            )
        wait_for(self._answers, f"the start of {self.name} (see {self.directory}/engine.log)")

    def stop(self) -> None:
        if self.process is not None:
            self._remove_containers()
            stop(self.process)
            self.process = None
        self.clean()
        if os.path.ismount(self.run_directory):
            # Lazily: what podman leaves mounted below it ends with the corner.
            run(("umount", "-l", str(self.run_directory)), dict(os.environ))

    def api(self) -> Api:
        return Api(str(self.socket))

    def load(self, archive: bytes) -> None:
        """Take over an image in Docker's archive format."""
        self.api().send_bytes("POST", "/images/load?quiet=1", archive, "application/x-tar")

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            log = (self.directory / "engine.log").read_text(errors="replace").strip()
            raise CommandError(f"{self.name} ended: {(log.splitlines() or ['silently'])[-1]}")
        try:
            self.api().call("GET", "/_ping")
        except OSError:
            return False
        return True

    def _remove_containers(self) -> None:
        api = self.api()
        try:
            for container in api.call("GET", "/containers/json?all=1"):
                api.remove(container["Id"])
        except OSError:
            return  # it is gone already

    def first_line(self, *command: str) -> str:
        return run(command, self.environment()).strip().splitlines()[0]
