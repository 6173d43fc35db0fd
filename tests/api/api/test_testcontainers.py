"""The testcontainers example, as its README tells to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

_EXAMPLE = Path(__file__).parents[3] / "examples/testcontainers"


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        text=True,
        timeout=patience(300),
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_example(daemon: Any, need: Callable[[str], None], tmp_path: Path) -> None:
    need("mmdebstrap")
    host = daemon.host
    wherry = [sys.executable, "-m", "wherry.cli"]
    _run(*wherry, "bootstrap", "debian:bookworm-slim", WHERRY_HOST=host)
    for name in ("postgres", "redis"):
        tag = f"example-{name}"
        _run(*wherry, "build", "--host-ca", "-t", tag, str(_EXAMPLE / name), WHERRY_HOST=host)
    _run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv/bin/python")
    _run(python, "-m", "pip", "install", "-q", "-r", str(_EXAMPLE / "requirements.txt"))

    printed = _run(
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(_EXAMPLE)),
        DOCKER_HOST=host,
        TESTCONTAINERS_RYUK_DISABLED="true",
    )
    assert "2 passed" in printed
