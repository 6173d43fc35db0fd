"""``events``."""

from __future__ import annotations

import sys

from wherry.cli.context import Context
from wherry.cli.listing import FILTER, filters
from wherry.cli.logs import moment
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.text import rfc3339

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FIELDS = {
    "status": "Status",
    "id": "ID",
    "from": "From",
    "scope": "Scope",
    "time": "Time",
    "timeNano": "TimeNano",
}


def _events(context: Context, arguments: Arguments) -> int:
    query = {
        "since": moment(arguments.text("since")),
        "until": moment(arguments.text("until")),
        "filters": filters(arguments),
    }
    show = _renderer(arguments.text("format"))
    for event in context.session.progress("GET", "/events", query):
        context.print(show(event))
        sys.stdout.flush()
    return 0


def _renderer(form: str) -> Callable[[Any], str]:
    if not form:
        return event_text
    from wherry.cli.template import compile_format

    template = compile_format("{{json .}}" if form == "json" else form)
    return template.render if form == "json" else lambda event: template.render(_fields(event))


def _fields(event: dict[str, Any]) -> dict[str, Any]:
    """The event with the names that Docker's templates have, ``.Status`` for ``status``."""
    return event | {_FIELDS[name]: value for name, value in event.items() if name in _FIELDS}


def event_text(event: dict[str, Any]) -> str:
    """``TIME container start ID (image=busybox, name=box)``."""
    seconds, nanoseconds = divmod(event.get("timeNano") or event["time"] * 10**9, 10**9)
    actor = event.get("Actor") or {}
    attributes = sorted((actor.get("Attributes") or {}).items())
    text = (
        f"{rfc3339(seconds, nanoseconds)} {event['Type']} {event['Action']} {actor.get('ID', '')}"
    )
    if attributes:
        text += f" ({', '.join(f'{name}={value}' for name, value in attributes)})"
    return text


COMMANDS = {
    "events": Command(
        "events [OPTIONS]",
        "Get real time events from the engine",
        _events,
        (
            FILTER,
            Option("--format", "Format output: 'json' or a Go template"),
            Option("--since", "Show all events created since timestamp"),
            Option("--until", "Stream events until this timestamp"),
        ),
        most=0,
    )
}
