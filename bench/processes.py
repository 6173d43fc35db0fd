"""Processes: run commands, find families, weigh them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_PATIENCE = 60.0  # seconds


class CommandError(Exception):
    """A command ended with another code than 0; has its last words."""


def run(command: Sequence[str], environment: Mapping[str, str], timeout: float = 600.0) -> str:
    """What a command prints. CommandError."""
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env=dict(environment),
    )
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise CommandError(f"{' '.join(command[:6])} ...: {words[:300]}")
    return done.stdout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise CommandError(f"{what} did not happen within {_PATIENCE:.0f} s")
        time.sleep(0.01)


def parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def family(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = parent(int(name))
            except (OSError, IndexError):
                continue  # gone by now
    found = {pid}
    while more := {child for child, above in parents.items() if above in found} - found:
        found |= more
    return found


def pss(pids: Iterable[int]) -> int:
    """Proportional set size of processes together, in bytes (proc(5), smaps_rollup)."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended since it was listed
    for line in lines:
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def kill_and_reap(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, insist after a while, and reap it."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
