"""Wherry, from the interpreter that runs the benchmark."""

from __future__ import annotations

import compileall
import sys
from pathlib import Path

from bench.engines.base import Engine


class Wherry(Engine):
    name = "wherry"
    outlived = True

    @classmethod
    def is_installed(cls) -> bool:
        return _program().exists()

    def version(self) -> str:
        import wherry

        return f"wherry {wherry.__version__} on Python {sys.version.split()[0]}"

    def prepare(self) -> None:
        """Compile the sources, as an installation does: from a checkout, with
        PYTHONDONTWRITEBYTECODE, each start would."""
        import wherry

        compileall.compile_dir(Path(wherry.__file__).parent, quiet=1)

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "wherry.daemon",
            f"--host=unix://{self.socket}",
            f"--data-root={self.directory}/data",
            f"--exec-root={self.run_directory}",
            f"--pidfile={self.directory}/pid",
            "--accept-forward",  # dockerd is in the same network namespace
        ]

    def cli(self) -> list[str]:
        return [str(_program()), "-H", f"unix://{self.socket}"]


def _program() -> Path:
    return Path(sys.executable).with_name("wherry")
