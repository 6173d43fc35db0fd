"""A container's log as clients read it: chosen streams, framed or raw, with times if asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote_plus

import msgspec

from wherry.api.frames import STREAMS, LineFrames, frame
from wherry.api.times import rfc3339
from wherry.engine.api import EngineApi
from wherry.engine.records import Container
from wherry.errors import NotSupported
from wherry.runtime.logs.reader import LogRecord

_NAMES = {1: "stdout", 2: "stderr"}
_REPLAY_LIMIT = 16 * 1024 * 1024  # bytes of log that an attach with logs=1 repeats


class LogForm(msgspec.Struct, frozen=True, kw_only=True):
    """How entries are written. ``details`` goes before each line: the attributes of ``--log-opt
    labels`` and ``env``, see :func:`details_text`; None leaves them out."""

    tty: bool
    streams: frozenset[str] = frozenset({"stdout", "stderr"})
    timestamps: bool = False
    details: str | None = None

    @property
    def joined(self) -> bool:
        """Whether lines may come together, since nothing goes before each."""
        return not self.timestamps and self.details is None


def details_text(attributes: Mapping[str, str]) -> str:
    """``name=value``, escaped as in a URL, joined by commas."""
    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in attributes.items())


class LogEncoder:
    """Entries to bytes. Remembers for each stream whether a line is open, since a long line comes
    in pieces and has its time only once."""

    def __init__(self, form: LogForm) -> None:
        self._form = form
        self._open: set[str] = set()
        self._frames = {name: LineFrames(name) for name in STREAMS}

    def encode(self, record: LogRecord) -> bytes:
        stream = _NAMES.get(record.stream, "stdout")
        if stream not in self._form.streams and not self._form.tty:
            return b""
        if self._form.joined:
            return record.data if self._form.tty else self._frames[stream](record.data)
        data = self._prefix(stream, record) + record.data
        return data if self._form.tty else frame(stream, data)

    def _prefix(self, stream: str, record: LogRecord) -> bytes:
        goes_on = stream in self._open
        if record.partial:
            self._open.add(stream)
        else:
            self._open.discard(stream)
        if goes_on:
            return b""
        time = f"{rfc3339(record.time_ns)} ".encode() if self._form.timestamps else b""
        details = self._form.details
        return time if details is None else time + f"{details} ".encode()


def batches(
    encoder: LogEncoder, records: Iterable[LogRecord], size: int = 64 * 1024
) -> Iterator[bytes]:
    """Encoded entries, joined to pieces of about ``size`` bytes."""
    held: list[bytes] = []
    total = 0
    for record in records:
        data = encoder.encode(record)
        held.append(data)
        total += len(data)
        if total >= size:
            yield b"".join(held)
            held, total = [], 0
    if held:
        yield b"".join(held)


def replay_log(
    engine: EngineApi, container: Container, streams: frozenset[str], until_ns: int
) -> bytes:
    """What the container has printed up to a moment, at most the last 16 MiB; nothing without a
    log."""
    try:
        reader = engine.containers.logs(container.id)
    except NotSupported:
        return b""
    form = LogForm(tty=container.config.tty, streams=streams)
    pieces: list[bytes] = []
    total = 0
    for piece in batches(LogEncoder(form), reader.read(until_ns=until_ns)):
        pieces.append(piece)
        total += len(piece)
        while total > _REPLAY_LIMIT and len(pieces) > 1:
            total -= len(pieces.pop(0))
    return b"".join(pieces)
