"""Containers that others need are started first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wherry.engine.containers.start_order import in_order
from wherry.errors import NotFound


def entry(name: str, **host: object) -> Any:
    wanted = {"network_mode": "", "ipc_mode": "", "pid_mode": "", "links": None}
    settings = SimpleNamespace(**{**wanted, "volumes_from": None, **host})
    return SimpleNamespace(id=name, record=SimpleNamespace(host=settings))


def names(*entries: Any) -> str:
    table = {one.id: one for one in entries}

    def find(ref: str) -> Any:
        if ref not in table:
            raise NotFound(ref)
        return table[ref]

    return " ".join(one.id for one in in_order(entries, find))


@pytest.mark.parametrize(
    "need",
    [
        {"network_mode": "container:b"},
        {"ipc_mode": "container:b"},
        {"pid_mode": "container:b"},
        {"links": ("/b:/a/alias",)},
        {"volumes_from": ("b:ro",)},
    ],
)
def test_what_is_needed_comes_first(need: dict[str, object]) -> None:
    assert names(entry("a", **need), entry("b")) == "b a"


def test_chains_circles_and_strangers() -> None:
    chain = [entry("a", links=("b",)), entry("b", links=("c",)), entry("c"), entry("d")]
    assert names(*chain) == "c b a d"
    circle = [entry("a", network_mode="container:b"), entry("b", network_mode="container:a")]
    assert names(*circle) == "b a"
    assert names(entry("a", links=("gone",)), entry("b")) == "a b"
