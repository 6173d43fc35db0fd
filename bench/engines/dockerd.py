"""dockerd with a containerd and a bridge of its own."""

from __future__ import annotations

import shutil
from contextlib import suppress

from bench.engines.base import Engine
from bench.processes import CommandError, run

_BRIDGE = "benchdock0"
_ADDRESS = "10.213.77.1/24"


class Dockerd(Engine):
    name = "dockerd"

    @classmethod
    def is_installed(cls) -> bool:
        return all(shutil.which(name) for name in ("dockerd", "docker", "containerd"))

    def version(self) -> str:
        runc = self.first_line("runc", "--version")
        return f"{self.first_line('dockerd', '--version')}, {runc}"

    def prepare(self) -> None:
        with suppress(CommandError):
            self._ip("link", "del", _BRIDGE)
        self._ip("link", "add", _BRIDGE, "type", "bridge")
        self._ip("addr", "add", _ADDRESS, "dev", _BRIDGE)
        self._ip("link", "set", _BRIDGE, "up")

    def command(self) -> list[str]:
        return [
            "dockerd",
            f"--host=unix://{self.socket}",
            f"--data-root={self.directory}/data",
            f"--exec-root={self.directory}/run",
            f"--pidfile={self.directory}/pid",
            f"--config-file={self._config()}",
            f"--bridge={_BRIDGE}",
        ]

    def cli(self) -> list[str]:
        return self.docker()

    def clean(self) -> None:
        with suppress(CommandError):
            self._ip("link", "del", _BRIDGE)

    def _config(self) -> str:
        path = self.directory / "daemon.json"
        path.write_text("{}")
        return str(path)

    def _ip(self, *arguments: str) -> None:
        run(("ip", *arguments), self.environment())
