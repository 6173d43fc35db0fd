"""Streams of progress: lines that are redrawn on a terminal, plain ones elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.cli.context import is_terminal
from wherry.cli.options import CommandError
from wherry.cli.pump import write_all
from wherry.cli.text import human_size

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

_BAR = 50  # characters


class Display:
    """Shows the messages of a pull, a push or a load.

    On a terminal each id has a line that is redrawn; elsewhere only what is no mere progress is
    printed, once.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._terminal = is_terminal(descriptor)
        self._lines: dict[str, int] = {}

    def show(self, message: Message) -> None:
        """Print one message; CommandError for one that is an error."""
        raise_error(message)
        if stream := message.get("stream"):
            self._write(str(stream))
        elif message.get("status"):
            self._status(message)

    def _status(self, message: Message) -> None:
        identifier = str(message.get("id") or "")
        text = f"{identifier}: {message['status']}" if identifier else str(message["status"])
        detail = message.get("progressDetail") or {}
        if not self._terminal:
            if not detail.get("current"):
                self._write(text + "\n")
            return
        if not identifier:
            self._write(text + "\n")
            self._lines = {name: line + 1 for name, line in self._lines.items()}
            return
        self._redraw(identifier, f"{text} {bar(detail)}".rstrip())

    def _redraw(self, identifier: str, text: str) -> None:
        """``_lines`` counts lines from the cursor up."""
        if identifier not in self._lines:
            self._lines = {name: line + 1 for name, line in self._lines.items()}
            self._lines[identifier] = 1
            self._write(f"{self._fitting(text)}\n")
            return
        up = self._lines[identifier]
        self._write(f"\x1b[{up}A\r\x1b[2K{self._fitting(text)}\x1b[{up}B\r")

    def _fitting(self, text: str) -> str:
        return text[: os.get_terminal_size(self._descriptor).columns or None]

    def _write(self, text: str) -> None:
        write_all(self._descriptor, text.encode(errors="replace"))


def raise_error(message: Message) -> None:
    """CommandError for a message of a stream that says that something went wrong."""
    if "error" in message or "errorDetail" in message:
        detail = message.get("errorDetail") or {}
        text = detail.get("message") or message.get("error") or "the engine reports an error"
        raise CommandError(str(text), int(detail.get("code") or 1))


def bar(detail: Message) -> str:
    """``[====>    ]  1.2MB/3.4MB``; empty if nothing is known."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if not current:
        return ""
    if total <= 0 or current > total:
        return human_size(current)
    filled = current * _BAR // total
    arrow = "=" * filled + ">" * (filled < _BAR)
    return f"[{arrow:<{_BAR}}]  {human_size(current)}/{human_size(total)}"


def show_all(messages: Iterable[Message], descriptor: int, *, quiet: bool = False) -> None:
    """Show a whole stream; with ``quiet``, only see to its errors."""
    display = Display(descriptor)
    for message in messages:
        if quiet:
            raise_error(message)
        else:
            display.show(message)
