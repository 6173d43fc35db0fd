"""``start``, also in the foreground."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import container_path, each
from wherry.cli.interact import attach_query, check_terminal, container_interaction, start_attached
from wherry.cli.options import Arguments, Command, Option, UsageError


def _start(context: Context, arguments: Arguments) -> int:
    if not (arguments.flag("attach") or arguments.flag("interactive")):
        return each(
            context,
            arguments.words,
            lambda name: context.session.post(container_path(name, "/start")),
        )
    if len(arguments.words) > 1:
        raise UsageError("you cannot start and attach multiple containers at once", 1)
    return _attached(context, arguments)


def _attached(context: Context, arguments: Arguments) -> int:
    details = context.session.get(container_path(arguments.words[0], "/json"))
    path = container_path(details["Id"])
    config = details["Config"]
    stdin = arguments.flag("interactive") and config["OpenStdin"]
    tty = config["Tty"]
    check_terminal(tty=tty, stdin=stdin)
    interaction = container_interaction(context, arguments, path, tty=tty, stdin=stdin)
    query = attach_query(arguments, stdin=stdin)
    removed = details["HostConfig"]["AutoRemove"]
    return start_attached(context, path, interaction, query, removed=removed)


COMMANDS = {
    "start": Command(
        "start [OPTIONS] CONTAINER [CONTAINER...]",
        "Start one or more stopped containers",
        _start,
        (
            Option("-a --attach", "Attach STDOUT/STDERR and forward signals", "flag"),
            Option("-i --interactive", "Attach container's STDIN", "flag"),
            Option("--detach-keys", "Override the key sequence for detaching a container"),
            Option("--sig-proxy", "Proxy signals to the process", "flag", default="true"),
        ),
        least=1,
    )
}
