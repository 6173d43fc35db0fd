"""How many execs an engine remembers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from wherry.engine.containers.execs import REMEMBERED, Execs
from wherry.engine.events import Events
from wherry.engine.records import ExecOptions
from wherry.errors import NotFound


class _OneContainer:
    """A table with one container, which runs."""

    def find(self, _ref: str) -> Any:
        record = SimpleNamespace(
            id="c" * 64,
            name="one",
            image_name="image",
            config=SimpleNamespace(labels={}),
            state=SimpleNamespace(status="running", pid=1),
        )
        return SimpleNamespace(id=record.id, record=record)


def test_execs_that_nobody_starts_are_forgotten_but_none_that_runs() -> None:
    nothing: Any = None
    table: Any = _OneContainer()
    execs = Execs(nothing, table, nothing, Events())
    options = ExecOptions(cmd=("true",))
    first, second = (execs.create("one", options) for _ in range(2))
    entry = execs._execs[first]
    entry.record = msgspec.structs.replace(entry.record, running=True)
    others = [execs.create("one", options) for _ in range(REMEMBERED)]
    assert execs.get(first).running
    with pytest.raises(NotFound, match="No such exec instance"):
        execs.get(second)
    with pytest.raises(NotFound):
        execs.get(others[0])
    assert execs.get(others[1]).id == others[1]
    assert len(execs._execs) == REMEMBERED
