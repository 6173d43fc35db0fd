"""Many clients do everything at once for a long time: nothing is left, and memory stays flat."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.findings import wait_until_settled
from tests.faults.operations import tar_of
from tests.faults.victims import children, name_of, read
from tests.patience import patience

from wherry.client import Client

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS = 20
ALLOWED_GROWTH = 12 * 1024  # KiB, of engine and launcher, once they have seen everything

NETWORKS = threading.BoundedSemaphore(4)
"""At once: the pools of addresses are shared with all other engines of this machine."""


@dataclass
class Visitor:
    """One client with a container of its own, which it starts and stops as it likes."""

    client: Client
    name: str
    scratch: Path
    chance: random.Random

    def settle_in(self) -> None:
        self.client.containers.create("busybox", ["sleep", "100000"], name=self.name).start()

    def act(self) -> None:
        self.chance.choice(ACTIONS)(self)

    def leave(self) -> None:
        self.client.containers.get(self.name).remove(force=True)
        self.client.close()

    # --- what it may do ---

    def run(self) -> None:
        script = "echo out; echo err >&2"
        done = self.client.containers.run("busybox", ["sh", "-c", script])
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")

    def execute(self) -> None:
        done = self.client.containers.get(self.name).exec(["echo", "hello"])
        assert (done.exit_code, done.stdout) == (0, b"hello\n")

    def restart(self) -> None:
        container = self.client.containers.get(self.name)
        container.stop(timeout=0)
        container.start()

    def pause(self) -> None:
        container = self.client.containers.get(self.name)
        container.pause()
        container.unpause()

    def copy(self) -> None:
        path = f"/containers/{self.name}/archive"
        archive = [tar_of({"file": self.name.encode()})]
        self.client.session.request("PUT", path, {"path": "/"}, body=archive).read()
        found = self.client.session.request("GET", path, {"path": "/file"}).read()
        assert self.name.encode() in found

    def network(self) -> None:
        with NETWORKS:
            self._network(f"{self.name}-net")

    def _network(self, name: str) -> None:
        self.client.networks.create(name)
        self.client.networks.connect(name, self.name)
        self.client.networks.disconnect(name, self.name)
        self.client.networks.remove(name)

    def volume(self) -> None:
        name = f"{self.name}-volume"
        self.client.volumes.create(name)
        self.client.containers.run("busybox", ["touch", "/data/a"], volumes={name: "/data"})
        self.client.volumes.remove(name)

    def build(self) -> None:
        context = self.scratch / self.name
        context.mkdir(exist_ok=True)
        unique = self.chance.random()
        (context / "Dockerfile").write_text(f"FROM busybox\nRUN echo {unique} > /it\n")
        tag = f"{self.name}-built"
        self.client.images.build(context, tag=tag)
        self.client.images.remove(tag, force=True)

    def look(self) -> None:
        names = [one.id for one in self.client.containers.list(everything=True)]
        assert len(names) >= CLIENTS
        self.client.containers.get(self.name).inspect()
        self.client.containers.get(self.name).logs()
        self.client.images.list()
        self.client.info()
        self.client.session.request("GET", "/events", {"since": 1, "until": 2}).read()


ACTIONS: tuple[Callable[[Visitor], None], ...] = (
    Visitor.run,
    Visitor.execute,
    Visitor.execute,
    Visitor.restart,
    Visitor.pause,
    Visitor.copy,
    Visitor.network,
    Visitor.volume,
    Visitor.build,
    Visitor.look,
    Visitor.look,
)


def memory(engine: EngineProcess) -> dict[str, int]:
    """KiB that the engine and its launcher have for themselves."""
    assert engine.process is not None
    pids = {"engine": engine.process.pid}
    pids["launcher"] = next(
        pid for pid in children(engine.process.pid) if name_of(pid) == "wherry-launcher"
    )
    return {name: _private(pid) for name, pid in pids.items()}


def _private(pid: int) -> int:
    lines = read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def work(visitors: list[Visitor], operations: int) -> None:
    """All of them at once, until so many operations were done; the first failure is raised."""
    numbers = itertools.count()
    stop = threading.Event()

    def go_on(visitor: Visitor) -> None:
        try:
            while next(numbers) < operations and not stop.is_set():
                visitor.act()
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(len(visitors)) as threads:
        for done in [threads.submit(go_on, visitor) for visitor in visitors]:
            done.result()


@pytest.mark.timeout(0)
def test_many_clients_for_a_long_time(
    new_engine: Callable[..., EngineProcess], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    operations: int = pytestconfig.getoption("--soak-operations")
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    visitors = [
        Visitor(
            Client(engine.host, timeout=patience(120.0)),
            f"visitor{number}",
            tmp_path,
            random.Random(number),
        )
        for number in range(CLIENTS)
    ]
    for visitor in visitors:
        visitor.settle_in()
    work(visitors, operations // 4)
    before = memory(engine)
    work(visitors, operations - operations // 4)
    after = memory(engine)
    for visitor in visitors:
        visitor.leave()
    left = wait_until_settled(engine, client)
    print(f"{operations} operations of {CLIENTS} clients: KiB {before} -> {after}")
    assert not left, left
    for name, kib in after.items():
        assert kib - before[name] < ALLOWED_GROWTH, f"{name}: {before[name]} -> {kib} KiB"
