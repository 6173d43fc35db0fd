"""The engines that are compared."""

from __future__ import annotations

from pathlib import Path

from bench.engines.base import Engine
from bench.engines.dockerd import Dockerd
from bench.engines.podman import Podman
from bench.engines.wherry import Wherry

KINDS: tuple[type[Engine], ...] = (Wherry, Dockerd, Podman)
"""In the order of the table's columns; ratios are to dockerd."""


def installed(directory: Path, names: set[str]) -> list[Engine]:
    """An engine of each kind that is installed and asked for (no names: all)."""
    kinds = [kind for kind in KINDS if not names or kind.name in names]
    return [kind(directory / kind.name) for kind in kinds if kind.is_installed()]
