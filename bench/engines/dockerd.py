"""dockerd with a containerd of its own."""

from __future__ import annotations

import shutil

from bench.engines.base import Engine


class Dockerd(Engine):
    name = "dockerd"

    @classmethod
    def is_installed(cls) -> bool:
        return all(shutil.which(name) for name in ("dockerd", "docker", "containerd"))

    def version(self) -> str:
        runc = self.first_line("runc", "--version")
        return f"{self.first_line('dockerd', '--version')}, {runc}"

    def command(self) -> list[str]:
        return [
            "dockerd",
            f"--host=unix://{self.socket}",
            f"--data-root={self.directory}/data",
            f"--exec-root={self.run_directory}",
            f"--pidfile={self.directory}/pid",
            f"--config-file={self._config()}",
        ]

    def cli(self) -> list[str]:
        return self.docker()

    def _config(self) -> str:
        path = self.directory / "daemon.json"
        path.write_text("{}")
        return str(path)
