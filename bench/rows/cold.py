"""``wherry-runtime`` as another engine calls it, a process each time, against runc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import image
from bench.engines.base import Engine
from bench.quiet import wait_until_quiet
from bench.rows.base import Row
from wherry.runtime.seccomp.profile import default_profile

_PROGRAM = str(Path(sys.executable).parent / "wherry-runtime")


class ColdRuntime(Row):
    """From the call of ``run`` to its end; the container runs ``true``.

    What ``runc spec`` writes has no filter of system calls. What engines pass has: podman, dockerd
    and containerd all send the same default one, which a runtime has to compile.
    """

    unit = "x"

    def __init__(self, key: str, title: str, limit: float | None, *, filtered: bool) -> None:
        self.key = key
        self.title = title
        self.limit = limit
        self._filtered = filtered

    def suits(self, engine: Engine) -> bool:
        programs = ("runc", _PROGRAM)
        return engine.name == "wherry" and all(shutil.which(name) for name in programs)

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=engine.directory) as directory:
            bundle = Path(directory)
            image.unpack(bundle / "rootfs")
            subprocess.run(["runc", "spec"], cwd=bundle, check=True)
            path = bundle / "config.json"
            config = json.loads(path.read_text())
            config["process"].update(terminal=False, args=["true"])
            config["process"]["capabilities"].pop("ambient", None)
            if self._filtered:
                config["linux"]["seccomp"] = _filter(config["process"]["capabilities"])
            path.write_text(json.dumps(config))
            yield bundle

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(setting, Path)
        theirs = _seconds("runc", setting)
        wait_until_quiet()
        return _seconds(_PROGRAM, setting) / theirs


def _filter(capabilities: dict[str, list[str]]) -> object:
    """Docker's default filter, as an engine writes it for these capabilities."""
    return msgspec.to_builtins(default_profile(capabilities["bounding"]))


def _seconds(program: str, bundle: Path) -> float:
    name = f"cold-{os.getpid()}"
    command = [program, "--root", str(bundle / "state"), "run", "--bundle", str(bundle), name]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
