"""Many small files into a container and out of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engines.base import Engine
from bench.image import NAME
from bench.rows.base import Row, timed

_DIRECTORIES = 50
_FILES = 100  # in each


@dataclass(frozen=True)
class _Place:
    container: str
    tree: Path  # what is copied in
    back: Path  # where it is copied to


class CopyFiles(Row):
    """Docker's command line on every engine: what it costs itself is the same on each."""

    rounds_at_most = 7

    def __init__(self, key: str, title: str, *, out: bool, target: float | None = None) -> None:
        self.key, self.title, self.target = key, title, target
        self._out = out

    def suits(self, engine: Engine) -> bool:
        return shutil.which("docker") is not None

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[_Place]:
        api = engine.api()
        container = api.create(NAME, ["sleep", "3600"], "none")
        try:
            api.start(container)
            with tempfile.TemporaryDirectory(prefix="bench-copy-") as directory:
                place = _Place(container, Path(directory, "tree"), Path(directory, "back"))
                _make_files(place.tree)
                place.back.mkdir()
                self._copy_in(engine, place)
                yield place
        finally:
            api.remove(container)

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(setting, _Place)
        if not self._out:
            return self._copy_in(engine, setting)
        shutil.rmtree(setting.back)
        setting.back.mkdir()
        source = f"{setting.container}:/tree"
        return timed([*engine.docker(), "cp", "-q", source, str(setting.back)], engine)

    def _copy_in(self, engine: Engine, place: _Place) -> float:
        return timed(
            [*engine.docker(), "cp", "-q", str(place.tree), f"{place.container}:/"], engine
        )


def _make_files(tree: Path) -> None:
    for number in range(_DIRECTORIES):
        directory = tree / f"d{number}"
        directory.mkdir(parents=True)
        for name in range(_FILES):
            (directory / f"file{name}").write_bytes(b"x" * (name * 80))
