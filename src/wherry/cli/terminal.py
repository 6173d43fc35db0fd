"""The caller's terminal and signals while a container has them."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from wherry.cli.context import STDIN, STDOUT, is_terminal

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

PROXIED = tuple(
    getattr(signal, name)
    for name in (
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "SIGALRM",
        "SIGTERM",
        "SIGCONT",
    )
)


@contextmanager
def raw_mode(descriptor: int = STDIN) -> Iterator[None]:
    """Every key goes to the container as it is; the terminal is as before on every way out."""
    before = termios.tcgetattr(descriptor)
    pipe = signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # an error, so that we get to restore
    try:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, _raw(before))
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGPIPE, pipe)


def _raw(before: Any) -> Any:
    """cfmakeraw(3)."""
    inputs, outputs, control, local, *speeds, characters = before
    inputs &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    outputs &= ~termios.OPOST
    local &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    control = (control & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [inputs, outputs, control, local, *speeds, characters]


def window_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal on standard output or input; None without one."""
    for descriptor in (STDOUT, STDIN):
        if is_terminal(descriptor):
            size = os.get_terminal_size(descriptor)
            if size.lines and size.columns:
                return size.lines, size.columns
    return None


class Signals:
    """Signals as bytes to read: poll ``fileno()``, then ``take()`` says which came."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = tuple(numbers)
        self._before: list[tuple[int, object]] = []
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        return self._read

    def take(self) -> tuple[int, ...]:
        try:
            return tuple(os.read(self._read, 64))
        except BlockingIOError:
            return ()

    def __enter__(self) -> Signals:
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._numbers:
            self._before.append((number, signal.signal(number, _noted)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)


def _noted(number: int, frame: object) -> None:
    """The wakeup descriptor has told already."""


def parse_keys(text: str) -> bytes:
    """The bytes of ``ctrl-p,ctrl-q`` or ``a,ctrl-x``; empty if it is not such a sequence."""
    keys = [_key(part) for part in text.split(",")]
    return b"" if None in keys else bytes(key for key in keys if key is not None)


def _key(text: str) -> int | None:
    if len(text) == 1 and text.isascii():
        return ord(text)
    name = text.removeprefix("ctrl-")
    if name == text or len(name) != 1 or not ("a" <= name <= "z" or name in "@[\\]^_"):
        return None
    return ord(name.upper()) & 0x1F
