"""What a row is: one piece of work, measured on each engine in turn."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from bench.engines.base import Engine
from bench.processes import CommandError


class Row:
    """``target`` is the wished ratio to dockerd, ``limit`` a wished value in the row's unit.

    ``rounds_at_most`` keeps long work from being repeated too often.
    """

    key = ""
    title = ""
    unit = "ms"
    more_is_better = False
    target: float | None = None
    limit: float | None = None
    rounds_at_most = 1000

    def suits(self, engine: Engine) -> bool:
        return True

    def setting(self, engine: Engine) -> AbstractContextManager[object]:
        """What stands while the row's rounds run on an engine; not measured."""
        return nullcontext()

    def sample(self, engine: Engine, setting: object) -> float:
        """Do the work once; the value in the row's unit."""
        raise NotImplementedError


def timed(command: Sequence[str], engine: Engine) -> float:
    """Milliseconds that a command takes. CommandError."""
    started = time.perf_counter()
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=engine.environment(),
        timeout=600,
    )
    elapsed = time.perf_counter() - started
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise CommandError(f"{command[0]} said: {words[-1][:200]}")
    return elapsed * 1000
