"""The directory of a run, removed while monitors of execs still write to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.engine.containers.launch import _remove


def test_what_a_monitor_writes_meanwhile_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run"
    place = directory / "exec" / "one"
    place.mkdir(parents=True)
    remove = os.rmdir
    ends = [place / "exit.json"]

    def write_an_end_first(name: str, *, dir_fd: int | None = None) -> None:
        if ends:
            ends.pop().write_text("{}")
        remove(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", write_an_end_first)
    _remove(str(directory))
    assert not ends
    assert not directory.exists()
