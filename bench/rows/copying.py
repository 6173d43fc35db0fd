"""Many small files into a container and out of it, as ``cp`` asks the engine for them."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from bench.engines.base import Engine
from bench.http import Api
from bench.image import NAME
from bench.rows.base import Row

_DIRECTORIES = 50
_FILES = 100  # in each


@dataclass(frozen=True)
class _Place:
    api: Api
    container: str
    numbers: Iterator[int] = field(default_factory=count)


class CopyFiles(Row):
    """The archive that a client sends or gets; what the client does with its own disk, the same on
    every engine, is left out."""

    rounds_at_most = 9
    target = 0.5

    def __init__(self, key: str, title: str, *, out: bool) -> None:
        self.key, self.title = key, title
        self._out = out

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[_Place]:
        api = engine.api()
        container = api.create(NAME, ["sleep", "3600"], "none")
        try:
            api.start(container)
            place = _Place(api, container)
            _send(place)
            yield place
        finally:
            api.remove(container)

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(setting, _Place)
        return _fetch(setting) if self._out else _send(setting)


def _send(place: _Place) -> float:
    """Into a new directory; the first is ``/tree0``. Milliseconds."""
    data = _archive(f"tree{next(place.numbers)}")
    started = time.perf_counter()
    path = f"/containers/{place.container}/archive?path=/"
    place.api.send_bytes("PUT", path, data, "application/x-tar")
    return (time.perf_counter() - started) * 1000


def _fetch(place: _Place) -> float:
    started = time.perf_counter()
    place.api.call("GET", f"/containers/{place.container}/archive?path=/tree0")
    return (time.perf_counter() - started) * 1000


def _archive(top: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(_DIRECTORIES):
            directory = tarfile.TarInfo(f"{top}/d{number}")
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
            for name in range(_FILES):
                member = tarfile.TarInfo(f"{top}/d{number}/file{name}")
                member.size = name * 80
                tar.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()
