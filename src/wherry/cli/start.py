"""``start``, also in the foreground."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import container_path, each
from wherry.cli.interact import Interaction, check_terminal, exit_status, start_failure
from wherry.cli.options import Arguments, Command, Option, UsageError
from wherry.client.session import decode_json
from wherry.errors import WherryError


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
    interaction = Interaction(
        context,
        tty=tty,
        stdin=stdin,
        resize_path=f"{path}/resize",
        kill_path=f"{path}/kill" if arguments.flag("sig-proxy") else "",
        detach_keys=arguments.text("detach-keys"),
    )
    query = {
        "stream": True,
        "stdin": stdin or None,
        "stdout": True,
        "stderr": True,
        "detachKeys": arguments.text("detach-keys") or None,
    }
    condition = "removed" if details["HostConfig"]["AutoRemove"] else "next-exit"
    with interaction.prepared(), context.session.hijack(f"{path}/attach", query) as stream:
        waiting = context.session.request("POST", f"{path}/wait", {"condition": condition})
        try:
            context.session.post(f"{path}/start")
        except WherryError as error:
            raise start_failure(error) from None
        if interaction.run(stream):
            return 0
        return exit_status(decode_json(waiting.read()))


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
