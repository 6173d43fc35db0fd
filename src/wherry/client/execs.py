"""Programs that are started in a running container, and what comes of a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from wherry.client.answers import ExecDetails, ask
from wherry.client.frames import STDERR, Frame, frames
from wherry.client.session import Session
from wherry.client.transport import Stream
from wherry.errors import WherryError


class Completed(msgspec.Struct, frozen=True):
    """A program that has ended: its status and what it wrote."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")

    def check(self, what: str) -> Completed:
        """Itself, or CommandFailed if the status is not 0."""
        if self.exit_code:
            raise CommandFailed(what, self)
        return self


class CommandFailed(WherryError):  # named as the bases are
    """A program ended with a status other than 0; ``completed`` has what it wrote."""

    def __init__(self, what: str, completed: Completed) -> None:
        lines = completed.stderr.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        super().__init__(f"{what} ended with status {completed.exit_code}{last}")
        self.completed = completed


def collect(pieces: Iterable[Frame]) -> tuple[bytes, bytes]:
    """Standard output and standard error, each as a whole."""
    outputs: tuple[list[bytes], list[bytes]] = ([], [])
    for kind, data in pieces:
        outputs[kind == STDERR].append(data)
    return b"".join(outputs[0]), b"".join(outputs[1])


class Process:
    """A program started with ``exec``. Use it as a context manager."""

    def __init__(self, session: Session, identifier: str, stream: Stream, *, tty: bool) -> None:
        self.id = identifier
        self.stream = stream
        self._session = session
        self._tty = tty

    def communicate(self, data: bytes = b"") -> Completed:
        """Send ``data``, end its input, and wait for the program."""
        stdout, stderr = collect(frames(self.stream.communicate(data), tty=self._tty))
        return Completed(self.exit_code(), stdout, stderr)

    def send(self, data: bytes) -> None:
        self.stream.send(data)

    def close_stdin(self) -> None:
        """The program reads end-of-file; its output stays open."""
        self.stream.close_write()

    def output(self) -> Iterator[Frame]:
        """Pieces of (stream, bytes) as they come; stream 1 is stdout and 2 is stderr."""
        return frames(iter(self.stream.recv, b""), tty=self._tty)

    def inspect(self) -> ExecDetails:
        return ask(self._session, ExecDetails, "GET", f"/exec/{self.id}/json")

    def exit_code(self) -> int:
        """The status, once the output has ended; -1 if the program goes on without output."""
        code = self.inspect().exit_code
        return -1 if code is None else code

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size, in characters."""
        query = {"h": rows, "w": columns}
        self._session.post(f"/exec/{self.id}/resize", query)

    def close(self) -> None:
        self.stream.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
