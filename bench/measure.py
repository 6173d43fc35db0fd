"""Rounds: each row on each engine in turn, so that a slow moment of the machine hits all; and each
when the one before has ceased to work."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.engines.base import Engine
from bench.http import ApiError
from bench.processes import CommandError
from bench.quiet import wait_until_quiet
from bench.rows.base import Row

FAILURES = (CommandError, ApiError, OSError, AssertionError)


@dataclass
class Outcome:
    """What one row came to on one engine."""

    samples: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples and not self.error else None


@dataclass(frozen=True)
class Result:
    row: Row
    outcomes: dict[str, Outcome]  # by the engine's name

    def ratio(self, engine: str, to: str) -> float | None:
        """How an engine's median relates to another's."""
        mine, other = (self.outcomes.get(name, Outcome()).median for name in (engine, to))
        return mine / other if mine is not None and other else None


def measure(rows: Iterable[Row], engines: Sequence[Engine], rounds: int) -> list[Result]:
    """All rows; a row that fails on an engine has its error there and goes on elsewhere."""
    results = []
    for row in rows:
        print(f"{row.title} ...", file=sys.stderr, flush=True)
        results.append(_measure_row(row, engines, min(rounds, row.rounds_at_most)))
    return results


def _measure_row(row: Row, engines: Sequence[Engine], rounds: int) -> Result:
    outcomes = {engine.name: Outcome() for engine in engines if row.suits(engine)}
    with ExitStack() as stack:
        settings: dict[str, object] = {}
        for engine in engines:
            if engine.name in outcomes:
                _enter(row, engine, stack, settings, outcomes[engine.name])
        for number in range(rounds + 1):
            for engine in engines:
                if engine.name in settings:
                    _sample(row, engine, settings, outcomes[engine.name], warm_up=number == 0)
    return Result(row, outcomes)


def _enter(
    row: Row, engine: Engine, stack: ExitStack, settings: dict[str, object], outcome: Outcome
) -> None:
    try:
        settings[engine.name] = stack.enter_context(row.setting(engine))
    except FAILURES as error:
        outcome.error = str(error) or type(error).__name__


def _sample(
    row: Row, engine: Engine, settings: dict[str, object], outcome: Outcome, *, warm_up: bool
) -> None:
    """The first round warms caches up and is not counted; where there is one round only, it is
    left out."""
    if warm_up and row.rounds_at_most <= 3:
        return
    wait_until_quiet()
    try:
        value = row.sample(engine, settings[engine.name])
    except FAILURES as error:
        outcome.error = str(error) or type(error).__name__
        del settings[engine.name]
        return
    if not warm_up:
        outcome.samples.append(value)
