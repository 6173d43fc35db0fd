"""A container (or an exec) on the caller's terminal: raw mode, resize, signals, exit status."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from wherry.cli.context import STDERR, STDIN, Context, is_terminal
from wherry.cli.options import Arguments, CommandError
from wherry.cli.pump import Pump, write_all
from wherry.cli.terminal import PROXIED, Signals, parse_keys, raw_mode, window_size
from wherry.client.session import Session, decode_json
from wherry.client.transport import Stream
from wherry.errors import WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

DETACH_KEYS = "ctrl-p,ctrl-q"
_FORCE_AFTER = 3  # signals that end the client even if the container does not end
_RESIZE_TRIES, _RESIZE_PAUSE = 5, 0.01  # seconds: an exec may not have its terminal yet


def check_terminal(*, tty: bool, stdin: bool) -> None:
    """Docker's refusal of ``-it`` without a terminal."""
    if tty and stdin and not is_terminal(STDIN):
        raise CommandError("the input device is not a TTY", 1)


class Interaction:
    """What happens between a container's start and its end, as the caller sees it.

    ``resize_path`` is where the terminal's size goes, ``kill_path`` where signals go (empty: they
    end the client).
    """

    def __init__(
        self,
        context: Context,
        *,
        tty: bool,
        stdin: bool,
        resize_path: str,
        kill_path: str = "",
        detach_keys: str = "",
    ) -> None:
        self._session: Session = context.session
        self._tty = tty
        self._stdin = stdin
        self._resize_path = resize_path
        self._kill_path = kill_path
        self._keys = parse_keys(detach_keys or DETACH_KEYS) if tty and stdin else b""
        self._signals: Signals | None = None
        self._terminating = 0

    @contextmanager
    def prepared(self) -> Iterator[Interaction]:
        """From here on signals wait for ``run``, so that none is lost while things start."""
        numbers = (*PROXIED, signal.SIGWINCH) if self._tty else PROXIED
        with Signals(numbers) as self._signals:
            yield self

    def run(self, stream: Stream) -> bool:
        """Carry bytes to the end; whether the caller detached."""
        pump = Pump(
            stream,
            tty=self._tty,
            stdin=self._stdin,
            signals=self._signals,
            on_signal=self._on_signal,
            detach_keys=self._keys,
        )
        with ExitStack() as stack:
            if self._tty and self._stdin and is_terminal(STDIN):
                stack.enter_context(raw_mode())
            if self._tty:
                self._resize(_RESIZE_TRIES)
            pump.run()
        if pump.detached:
            write_all(STDERR, b"\r\n")
        return pump.detached

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize(1)
            return
        if number in (signal.SIGINT, signal.SIGTERM):
            self._terminating += 1
        if not self._kill_path or self._terminating >= _FORCE_AFTER:
            raise CommandError(f"ended by signal {number}", 128 + number)
        try:
            self._session.post(self._kill_path, {"signal": str(number)})
        except WherryError:
            pass  # it has ended in the meantime

    def _resize(self, tries: int) -> None:
        size = window_size()
        if size is None:
            return
        for _ in range(tries):
            try:
                self._session.post(self._resize_path, {"h": size[0], "w": size[1]})
                return
            except WherryError:
                time.sleep(_RESIZE_PAUSE if tries > 1 else 0)


def container_interaction(
    context: Context, arguments: Arguments, path: str, *, tty: bool, stdin: bool
) -> Interaction:
    """For the container at ``path``, as the options ``sig-proxy`` and ``detach-keys`` say."""
    return Interaction(
        context,
        tty=tty,
        stdin=stdin,
        resize_path=f"{path}/resize",
        kill_path=f"{path}/kill" if arguments.flag("sig-proxy") else "",
        detach_keys=arguments.text("detach-keys"),
    )


def attach_query(
    arguments: Arguments, *, stdin: bool, stdout: bool = True, stderr: bool = True
) -> dict[str, Any]:
    return {
        "stream": True,
        "stdin": stdin or None,
        "stdout": stdout or None,
        "stderr": stderr or None,
        "detachKeys": arguments.text("detach-keys") or None,
    }


def start_attached(
    context: Context, path: str, interaction: Interaction, query: dict[str, Any], *, removed: bool
) -> int:
    """Attach, ask to be told of the end, start, carry bytes, and return the container's status.

    ``removed``: the end is when the engine has removed the container.
    """
    session = context.session
    with interaction.prepared(), session.hijack(f"{path}/attach", query) as stream:
        condition = "removed" if removed else "next-exit"
        waiting = session.request("POST", f"{path}/wait", {"condition": condition})
        start(context, path)
        if interaction.run(stream):
            return 0
        return exit_status(decode_json(waiting.read()))


def start(context: Context, path: str) -> None:
    """Start a container; CommandError with Docker's exit status if it cannot be started."""
    try:
        context.session.post(f"{path}/start")
    except WherryError as error:
        raise start_failure(error) from None


def start_failure(error: WherryError) -> CommandError:
    """Docker's exit statuses for a container that could not be started."""
    text = str(error)
    if "executable file not found" in text or "no such file or directory" in text:
        return CommandError(text, 127)
    if "permission denied" in text or "is a directory" in text:
        return CommandError(text, 126)
    return CommandError(text, 125)


def exit_status(answer: Any) -> int:
    """The status in an answer of ``wait``; CommandError if waiting itself went wrong."""
    problem = (answer.get("Error") or {}).get("Message")
    if problem:
        raise CommandError(str(problem), 125)
    return int(answer["StatusCode"])
