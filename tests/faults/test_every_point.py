"""Every process is killed at every point of what an engine does (``wherry.sys.faults``).

First each sequence of requests is watched undisturbed: which points it reaches, and which processes
there are at each. Then each of them is killed at each point; then, for ``--fault-rounds``, at
random. After each kill the engine (a new one, if it was killed) must have nothing that belongs to
nobody, must know what became of the container, and must be able to start it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.findings import wait_until_settled
from tests.faults.moments import Moments
from tests.faults.operations import OPERATIONS, Round, clear_away, use_again, wrongs
from tests.faults.victims import ROLES, Family, Role, kill
from tests.patience import patience

from wherry.client import Client
from wherry.errors import WherryError
from wherry.sys.faults import POINTS, VARIABLE, Point

pytestmark = pytest.mark.root

_BACKGROUND = patience(2.0)
"""Seconds for what the engine does after it has answered."""


@dataclass(frozen=True)
class Case:
    operation: str
    point: Point
    role: Role

    def __str__(self) -> str:
        return f"{self.role} at {self.point} of {self.operation}"


@dataclass
class Ground:
    """An engine with a bystander: a container that nobody may ever disturb."""

    engine: EngineProcess
    moments: Moments
    scratch: Path
    client: Client
    bystander: str = ""
    bystander_pid: int = 0
    rounds: int = 0
    missed: list[Case] = field(default_factory=list)

    def settle_in(self) -> None:
        self.client.images.bootstrap("busybox")
        self.client.networks.create("quiet")
        made = self.client.containers.launch(
            "busybox",
            ["sleep", "100000"],
            name="bystander",
            network="quiet",
            ports={80: ("127.0.0.1", 0)},
        )
        self.bystander, self.bystander_pid = made.id, made.inspect().state.pid

    def family(self, at: int) -> Family:
        assert self.engine.process is not None
        return Family(self.engine.process.pid, at, self.bystander_pid, self.bystander)

    def new_round(self) -> Round:
        self.rounds += 1
        return Round(self.client, f"round{self.rounds}", self.scratch)

    def watch(self, operation: str) -> list[Case]:
        """Run undisturbed; who is there at which point."""
        found: dict[Case, None] = {}

        def note(point: Point, pid: int) -> None:
            family = self.family(pid)
            found.update({Case(operation, point, r): None for r in ROLES if family.find(r)})

        work = self.new_round()
        self.moments.observe(note)
        work.run(OPERATIONS[operation](work))
        assert not work.error
        assert not wait_until_settled(self.engine, self.client)
        self.moments.observe(lambda point, pid: None)
        return list(found)

    def strike(self, case: Case) -> list[str]:
        """One round: kill, come to, look, use again. What was found wrong."""
        work = self.new_round()
        self.moments.arm(case.point, lambda pid: self._kill(case, pid, work))
        work.run(OPERATIONS[case.operation](work))
        if not self.moments.disarm(0.0 if work.error else _BACKGROUND):
            self.missed.append(case)
        self._come_to()
        work.client = self.client
        found = wait_until_settled(self.engine, self.client)
        found += wrongs(work, case.role)
        found += self._wrongs_of_bystander()
        found += _failures(lambda: use_again(work))
        found += _failures(lambda: clear_away(work))
        found += [f"{one}, in the end" for one in wait_until_settled(self.engine, self.client)]
        return [f"{one} (answered: {work.error or 'nothing failed'})" for one in found]

    def _kill(self, case: Case, at: int, work: Round) -> None:
        victim = self.family(at).find(case.role)
        if case.role == "init":
            work.killed_init = victim
        kill(victim, wait=case.role != "init" or case.point != "pause.frozen")

    def _come_to(self) -> None:
        process = self.engine.process
        assert process is not None
        if process.poll() is not None:
            self.client = self.engine.start()

    def _wrongs_of_bystander(self) -> Iterator[str]:
        state = self.client.containers.get("bystander").inspect().state
        if state.pid != self.bystander_pid:
            yield f"the bystander was disturbed: it is {state.status}"


def _failures(action: Callable[[], None]) -> list[str]:
    try:
        action()
    except (WherryError, OSError, AssertionError) as error:
        return [f"afterwards: {error}"]
    return []


@pytest.fixture
def ground(
    new_engine: Callable[..., EngineProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    moments = Moments(tmp_path / "moments")
    monkeypatch.setenv(VARIABLE, moments.address)
    engine = new_engine()
    made = Ground(engine, moments, tmp_path, engine.start())
    made.settle_in()
    yield made
    moments.close()


@pytest.mark.timeout(0)
def test_whoever_is_killed_wherever(ground: Ground, pytestconfig: pytest.Config) -> None:
    wanted = pytestconfig.getoption("--fault-rounds")
    seed = pytestconfig.getoption("--fault-seed") or random.randrange(1 << 32)
    chance = random.Random(seed)
    watched = [case for operation in OPERATIONS for case in ground.watch(operation)]
    assert {case.point for case in watched} == set(POINTS)
    watched = [case for case in watched if pytestconfig.getoption("--fault-at") in str(case)]
    each = list({(case.point, case.role): case for case in reversed(watched)}.values())
    chance.shuffle(each)
    cases = [*each, *chance.choices(watched, k=max(0, wanted - len(each)))][:wanted]
    print(f"seed {seed}: {len(cases)} rounds of {len(each)} points and processes")
    wrong = []
    for number, case in enumerate(cases):
        print(f"{number}: {case}", flush=True)
        found = ground.strike(case)
        if found:
            wrong.append(f"round {number}, {case}: " + "; ".join(found))
            print(wrong[-1], flush=True)
    assert not wrong, f"of seed {seed}:\n" + "\n".join(wrong)
    assert len(ground.missed) <= 1 + len(cases) // 10, [str(case) for case in ground.missed]
