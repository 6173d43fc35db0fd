"""The launcher alone, against the least that new namespaces cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import image
from bench.engines.base import Engine
from bench.rows.base import Row
from wherry.cgroup import open_cgroups
from wherry.engine.spec import SpecInputs, build_spec, host_facts
from wherry.model.container import ContainerConfig, HostConfig
from wherry.runtime.api import StartRequest
from wherry.runtime.client import LauncherRuntime
from wherry.snapshot.api import OverlayMount

_FLOOR = ("unshare", "-mpiuC", "--fork", "true")
_CGROUP = "/wherry-bench-launch"


class _Launches:
    """Containers like those of the engine's defaults, on the host's network."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        image.unpack(directory / "layer")
        self.runtime = LauncherRuntime(str(directory))

    def start(self) -> float:
        """Seconds from the request to the program's execution; returns after its end."""
        request = self._request()
        ended = threading.Event()
        began = time.perf_counter()
        process = self.runtime.start(request)
        elapsed = time.perf_counter() - began
        process.on_exit(lambda _: ended.set())
        assert ended.wait(30)
        process.close()
        return elapsed

    def _request(self) -> StartRequest:
        self._count += 1
        name = f"launch-{os.getpid()}-{self._count}"
        place = self._directory / name
        for below in ("bundle/rootfs", "upper", "work", "state"):
            (place / below).mkdir(parents=True)
        spec = build_spec(
            SpecInputs(
                container_id=name,
                config=ContainerConfig(image="none", cmd=("true",)),
                host=HostConfig(network_mode="host", cgroupns_mode="private"),
                facts=host_facts(),
                root_path=str(place / "bundle" / "rootfs"),
                cgroup_path=f"{_CGROUP}/{name}",
                hostname="launch",
            )
        )
        (place / "bundle" / "config.json").write_bytes(msgspec.json.encode(spec))
        overlay = OverlayMount(
            lower=(str(self._directory / "layer"),),
            upper=str(place / "upper"),
            work=str(place / "work"),
        )
        return StartRequest(
            id=name,
            bundle=str(place / "bundle"),
            state_dir=str(place / "state"),
            rootfs=overlay,
        )


class Launch(Row):
    """From the request to the container's program, all namespaces but the network's being new."""

    key = "launch"
    title = "launcher: request to execve, of unshare --fork true"
    unit = "x"
    limit = 3.0

    def suits(self, engine: Engine) -> bool:
        return engine.name == "wherry"

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[_Launches]:
        # Beside the engine's own, on the disk that containers are on.
        with tempfile.TemporaryDirectory(dir=engine.directory) as directory:
            launches = _Launches(Path(directory))
            try:
                yield launches
            finally:
                launches.runtime.close()
                open_cgroups().remove_if_empty(_CGROUP)

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(setting, _Launches)
        return setting.start() / _floor()


def _floor() -> float:
    """Seconds that a small C program takes for namespaces and a process in them."""
    began = time.perf_counter()
    subprocess.run(_FLOOR, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began
