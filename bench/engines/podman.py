"""podman with a store of its own, served on a socket for the rows that need an API."""

from __future__ import annotations

import subprocess

from bench.engines.base import Engine

_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman(Engine):
    name = "podman"

    def version(self) -> str:
        return self.first_line("podman", "--version")

    def prepare(self) -> None:
        (self.directory / "containers.conf").write_text(_CONFIG)

    def environment(self) -> dict[str, str]:
        config = str(self.directory / "containers.conf")
        return {**super().environment(), "CONTAINERS_CONF": config}

    def command(self) -> list[str]:
        return [*self.cli(), "system", "service", "--time=0", f"unix://{self.socket}"]

    def clean(self) -> None:
        """Podman leaves its store mounted on itself."""
        subprocess.run(
            ["umount", str(self.directory / "data/overlay")], check=False, capture_output=True
        )

    def cli(self) -> list[str]:
        return [
            "podman",
            f"--root={self.directory}/data",
            f"--runroot={self.run_directory}",
            "--storage-driver=overlay",
        ]
