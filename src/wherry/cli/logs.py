"""``logs``."""

from __future__ import annotations

import time

from wherry.cli.context import STDERR, STDOUT, Context
from wherry.cli.each import container_path
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.pump import write_all
from wherry.cli.text import parse_stamp
from wherry.cli.values import parse_duration
from wherry.client.frames import STDERR as FRAME_STDERR
from wherry.client.frames import frames
from wherry.errors import InvalidArgument


def _logs(context: Context, arguments: Arguments) -> int:
    name = arguments.words[0]
    details = context.session.get(container_path(name, "/json"))
    query = {
        "stdout": True,
        "stderr": True,
        "follow": arguments.flag("follow"),
        "timestamps": arguments.flag("timestamps"),
        "details": arguments.flag("details") or None,
        "tail": arguments.text("tail"),
        "since": moment(arguments.text("since")),
        "until": moment(arguments.text("until")),
    }
    path = container_path(details["Id"], "/logs")
    with context.session.request("GET", path, query) as response:
        for kind, data in frames(response.chunks(), tty=details["Config"]["Tty"]):
            write_all(STDERR if kind == FRAME_STDERR else STDOUT, data)
    return 0


def moment(text: str) -> str | None:
    """What the API takes for ``--since`` and ``--until``: seconds since the epoch, of an RFC 3339
    time, of seconds, or of a duration before now."""
    if not text:
        return None
    if _is_number(text):
        return text
    if seconds := parse_stamp(_completed(text)):
        return f"{seconds:.9f}"
    try:
        return f"{time.time() - parse_duration(text) / 1e9:.9f}"
    except InvalidArgument:
        raise InvalidArgument(
            f"invalid time {text!r}: want 2026-01-02T15:04:05Z, seconds, or a duration such as 10m"
        ) from None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit()


def _completed(text: str) -> str:
    """A time without its zone, seconds or time of day, with them; in the local zone."""
    template = "0000-01-01T00:00:00"
    if len(text) <= len(template) and len(text) >= len("0000-00-00"):
        text += template[len(text) :]
    if text[-1] == "Z" or text[-6:-5] in ("+", "-"):
        return text
    zone = time.strftime("%z")
    return f"{text}{zone[:3]}:{zone[3:]}"


COMMANDS = {
    "logs": Command(
        "logs [OPTIONS] CONTAINER",
        "Fetch the logs of a container",
        _logs,
        (
            Option("--details", "Show extra details provided to logs", "flag"),
            Option("-f --follow", "Follow log output", "flag"),
            Option("--since", "Show logs since timestamp or relative (e.g. 42m)"),
            Option("-n --tail", "Lines to show from the end of the logs", default="all"),
            Option("-t --timestamps", "Show timestamps", "flag"),
            Option("--until", "Show logs before a timestamp or relative (e.g. 42m)"),
        ),
        least=1,
        most=1,
    )
}
