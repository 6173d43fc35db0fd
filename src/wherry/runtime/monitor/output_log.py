"""All that a monitor keeps of its process's output: the log file, and what goes to a service."""

from __future__ import annotations

import time

from wherry.runtime.api import LogSettings
from wherry.runtime.logs.lines import Entry, Lines
from wherry.runtime.logs.shipping import Shipper
from wherry.runtime.logs.writer import open_writer


class OutputLog:
    """The log of one process with the streams 1 (output) and 2 (errors)."""

    def __init__(self, settings: LogSettings) -> None:
        self._writer = open_writer(settings)
        self._next_ns = 0
        self._lines = {1: Lines(), 2: Lines()}
        self._file_is_shipped = settings.shipped and settings.remote is None
        self.shipper: Shipper | None = Shipper(settings) if settings.shipped else None

    @property
    def full(self) -> bool:
        """Whether the process has to wait for the log."""
        return self.shipper is not None and self.shipper.full

    def write(self, stream: int, data: bytes) -> None:
        """Keep what was read."""
        if self._writer is not None or self.shipper is not None:
            self._write(stream, self._lines[stream].feed(data, self._now(data)))

    def _now(self, data: bytes) -> int:
        """A time that leaves each line one of its own, a nanosecond apart: by the last one that it
        got, a client can say where to go on."""
        now = max(time.time_ns(), self._next_ns)
        self._next_ns = now + data.count(b"\n") + 1
        return now

    def _write(self, stream: int, entries: list[Entry]) -> None:
        if self._writer is not None:
            self._writer.write(stream, entries)
        if self.shipper is not None:
            self.shipper.write(stream, entries)

    def flush(self) -> None:
        """Hand over what waits for the shipper, as far as it takes it."""
        if self.shipper is not None:
            self.shipper.flush()

    def finish(self) -> None:
        """Keep the last lines without an end, and close the file: who hears of the end reads it."""
        for stream, lines in self._lines.items():
            self._write(stream, lines.finish(self._now(b"")))
        if self._writer is not None:
            self._writer.close()
        if self._file_is_shipped:
            self.end_shipper()

    def end_shipper(self) -> None:
        """Let the shipper deliver what it has, for a while, and end it."""
        if self.shipper is not None:
            self.shipper.end()
            self.shipper = None
