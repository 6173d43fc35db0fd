"""Carry bytes between a container's stream and the caller's standard streams."""

from __future__ import annotations

import os
import select

from wherry.cli.context import STDERR, STDIN, STDOUT
from wherry.client.frames import STDERR as FRAME_STDERR
from wherry.client.frames import Demultiplexer
from wherry.client.transport import CHUNK, Stream

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.cli.terminal import Signals

_PENDING_LIMIT = 4 * CHUNK
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Pump:
    """One thread, one poll: input, output and signals.

    Ends when the container's side ends. The end of standard input ends our half of the stream,
    and only that. Nothing is read that has nowhere to go.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        tty: bool,
        stdin: bool,
        signals: Signals | None = None,
        on_signal: Callable[[int], None] | None = None,
        detach_keys: bytes = b"",
    ) -> None:
        self._stream = stream
        self._frames = None if tty else Demultiplexer()
        self._stdin_open = stdin
        self._signals = signals
        self._on_signal = on_signal
        self._detach_keys = detach_keys
        self._pending = b""
        self._typed = b""  # the last keys
        self._last_half_open = True
        self._outputs = (STDOUT, STDERR)

    @property
    def detached(self) -> bool:
        """Whether the last keys that were typed are those that detach."""
        return bool(self._detach_keys) and self._typed == self._detach_keys

    def run(self) -> None:
        if not self._stdin_open:
            self._end_input()
        poller = select.poll()
        while True:
            if self._stream.buffered:
                if not self._output():
                    return
                continue
            self._register(poller)
            ready = dict(poller.poll())
            if self._signals and self._signals.fileno() in ready:
                self._handle_signals()
            if STDIN in ready and self._stdin_open:
                self._input()
            events = ready.get(self._stream.fileno(), 0)
            if events & select.POLLOUT or self._pending:
                self._flush()
            if events & (select.POLLIN | _ENDED) and not self._output():
                return

    def _register(self, poller: select.poll) -> None:
        wanted = select.POLLIN | (select.POLLOUT if self._pending else 0)
        poller.register(self._stream.fileno(), wanted)
        if self._signals:
            poller.register(self._signals.fileno(), select.POLLIN)
        if self._stdin_open and len(self._pending) < _PENDING_LIMIT:
            poller.register(STDIN, select.POLLIN)
        else:
            _unregister(poller, STDIN)

    def _handle_signals(self) -> None:
        if self._signals and self._on_signal:
            for number in self._signals.take():
                self._on_signal(number)

    def _input(self) -> None:
        try:
            data = os.read(STDIN, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # closed, or a terminal that went away
        if data:
            self._pending += data
            self._typed = (self._typed + data)[-len(self._detach_keys) :]
        else:
            self._stdin_open = False
            self._end_input()

    def _flush(self) -> None:
        try:
            sent = self._stream.send_some(self._pending)
        except OSError:
            self._pending, self._stdin_open = b"", False  # the container reads no more
            return
        self._pending = self._pending[sent:]
        if not self._pending and not self._stdin_open:
            self._end_input()

    def _end_input(self) -> None:
        if self._last_half_open and not self._pending:
            self._last_half_open = False
            self._stream.close_write()

    def _output(self) -> bool:
        data = self._stream.recv()
        if self._frames is None:
            write_all(STDOUT, data)
        else:
            for kind, piece in self._frames.feed(data):
                write_all(STDERR if kind == FRAME_STDERR else STDOUT, piece)
        return bool(data)


def _unregister(poller: select.poll, descriptor: int) -> None:
    try:
        poller.unregister(descriptor)
    except KeyError:
        pass  # it was not registered


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also to a descriptor that somebody made non-blocking."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
