"""``bootstrap``: a base image from the distribution's own package mirror."""

from __future__ import annotations

import sys

from wherry.cli.context import STDOUT, Context
from wherry.cli.options import Arguments, Command, Option, UsageError
from wherry.cli.progress import show_all
from wherry.cli.text import table


def _bootstrap(context: Context, arguments: Arguments) -> int:
    if arguments.flag("list"):
        known = context.session.get("/wherry/bootstrap") or ()
        rows = [(item["Name"], item["Description"]) for item in known]
        for line in table([("NAME", "DESCRIPTION"), *rows]):
            context.print(line)
        return 0
    if not arguments.words:
        raise UsageError("name what to make, such as busybox or python:3.11-slim, or --list", 1)
    for name in arguments.words:
        sys.stdout.flush()
        messages = context.session.progress("POST", "/wherry/bootstrap", {"name": name})
        show_all(messages, STDOUT, quiet=arguments.flag("quiet"))
    return 0


COMMANDS = {
    "bootstrap": Command(
        "bootstrap [--list] NAME[:TAG] [NAME[:TAG]...]",
        "Make a base image from the distribution's package mirror",
        _bootstrap,
        (
            Option("--list", "List what can be made", "flag"),
            Option("-q --quiet", "Suppress the output", "flag"),
        ),
    )
}
