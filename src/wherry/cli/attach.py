"""``attach`` and ``exec``."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import container_path
from wherry.cli.interact import (
    Interaction,
    attach_query,
    check_terminal,
    container_interaction,
    exit_status,
    start_failure,
)
from wherry.cli.options import Arguments, Command, CommandError, Option
from wherry.cli.terminal import window_size
from wherry.cli.values import environment
from wherry.errors import InvalidArgument

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_KEYS = Option("--detach-keys", "Override the key sequence for detaching a container")


# --- attach -------------------------------------------------------------------------------------


def _attach(context: Context, arguments: Arguments) -> int:
    details = context.session.get(container_path(arguments.words[0], "/json"))
    _check_attachable(details["State"])
    path = container_path(details["Id"])
    config = details["Config"]
    stdin = config["OpenStdin"] and not arguments.flag("no-stdin")
    check_terminal(tty=config["Tty"], stdin=stdin)
    interaction = container_interaction(context, arguments, path, tty=config["Tty"], stdin=stdin)
    query = attach_query(arguments, stdin=stdin)
    with interaction.prepared(), context.session.hijack(f"{path}/attach", query) as stream:
        if interaction.run(stream):
            return 0
    return exit_status(context.session.post(f"{path}/wait"))


def _check_attachable(state: dict[str, Any]) -> None:
    if not state["Running"]:
        raise CommandError("cannot attach to a stopped container, start the container first", 1)
    if state.get("Paused"):
        raise CommandError("cannot attach to a paused container, unpause the container first", 1)
    if state.get("Restarting"):
        raise CommandError("cannot attach to a restarting container, wait until it is running", 1)


# --- exec ---------------------------------------------------------------------------------------


def _exec(context: Context, arguments: Arguments) -> int:
    detach = arguments.flag("detach")
    stdin, tty = arguments.flag("interactive") and not detach, arguments.flag("tty")
    if not detach:
        check_terminal(tty=tty, stdin=stdin)
    body = _exec_body(context, arguments, attach=not detach, stdin=stdin)
    created = context.session.post(container_path(arguments.words[0], "/exec"), json=body)
    path = f"/exec/{created['Id']}"
    try:
        if detach:
            context.session.post(f"{path}/start", json={"Detach": True, "Tty": tty})
            return 0
        return _foreground(context, path, body)
    except InvalidArgument as error:
        raise start_failure(error) from None


def _foreground(context: Context, path: str, body: dict[str, Any]) -> int:
    interaction = Interaction(
        context,
        tty=body["Tty"],
        stdin=body["AttachStdin"],
        resize_path=f"{path}/resize",
        detach_keys=body["DetachKeys"],
    )
    start: dict[str, Any] = {"Detach": False, "Tty": body["Tty"]}
    if body["Tty"] and (size := window_size()):
        start["ConsoleSize"] = size
    with interaction.prepared(), context.session.hijack(f"{path}/start", json=start) as stream:
        if interaction.run(stream):
            return 0
    return int(context.session.get(f"{path}/json")["ExitCode"] or 0)


def _exec_body(
    context: Context, arguments: Arguments, *, attach: bool, stdin: bool
) -> dict[str, Any]:
    return {
        "AttachStdin": stdin,
        "AttachStdout": attach,
        "AttachStderr": attach,
        "Tty": arguments.flag("tty"),
        "DetachKeys": arguments.text("detach-keys"),
        "Env": environment(arguments.many("env"), arguments.many("env-file"), context.environ),
        "Cmd": arguments.words[1:],
        "User": arguments.text("user"),
        "WorkingDir": arguments.text("workdir"),
        "Privileged": arguments.flag("privileged"),
    }


COMMANDS = {
    "attach": Command(
        "attach [OPTIONS] CONTAINER",
        "Attach local standard input, output, and error streams to a running container",
        _attach,
        (
            _KEYS,
            Option("--no-stdin", "Do not attach STDIN", "flag"),
            Option(
                "--sig-proxy", "Proxy all received signals to the process", "flag", default="true"
            ),
        ),
        least=1,
        most=1,
    ),
    "exec": Command(
        "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
        "Execute a command in a running container",
        _exec,
        (
            Option("-d --detach", "Detached mode: run command in the background", "flag"),
            _KEYS,
            Option("-e --env", "Set environment variables", "list"),
            Option("--env-file", "Read in a file of environment variables", "list"),
            Option("-i --interactive", "Keep STDIN open even if not attached", "flag"),
            Option("--privileged", "Give extended privileges to the command", "flag"),
            Option("-t --tty", "Allocate a pseudo-TTY", "flag"),
            Option("-u --user", "Username or UID (format: <name|uid>[:<group|gid>])"),
            Option("-w --workdir", "Working directory inside the container"),
        ),
        least=2,
        passes_on=True,
    ),
}
