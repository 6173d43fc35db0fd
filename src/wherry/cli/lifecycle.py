"""Commands that change the state of containers: stop, kill, rm and the like."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import container_path, each
from wherry.cli.interact import exit_status
from wherry.cli.options import Arguments, Command, Option
from wherry.errors import NotFound

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Query = Callable[[Arguments], dict[str, Any]]


def _poster(verb: str, query: Query) -> Callable[[Context, Arguments], int]:
    def run(context: Context, arguments: Arguments) -> int:
        asked = query(arguments)

        def act(name: str) -> None:
            context.session.post(container_path(name, f"/{verb}"), asked)

        return each(context, arguments.words, act)

    return run


def _stopping(arguments: Arguments) -> dict[str, Any]:
    timeout = next((n for n in ("time", "timeout") if arguments.given(n)), "")
    return {
        "signal": arguments.text("signal") or None,
        "t": arguments.number(timeout) if timeout else None,
    }


def _killing(arguments: Arguments) -> dict[str, Any]:
    return {"signal": arguments.text("signal") or None}


def _nothing(_: Arguments) -> dict[str, Any]:
    return {}


def _remove(context: Context, arguments: Arguments) -> int:
    query = {
        "force": arguments.flag("force"),
        "v": arguments.flag("volumes"),
        "link": arguments.flag("link"),
    }

    def act(name: str) -> None:
        try:
            context.session.delete(container_path(name.strip("/")), query)
        except NotFound as error:
            if not arguments.flag("force"):
                raise
            context.complain(f"wherry: {error}")  # and succeed, as Docker's does
            return
        context.print(name)

    return each(context, arguments.words, act, show=False)


def _rename(context: Context, arguments: Arguments) -> int:
    old, new = arguments.words
    context.session.post(container_path(old, "/rename"), {"name": new})
    return 0


def _wait(context: Context, arguments: Arguments) -> int:
    def act(name: str) -> str:
        return str(exit_status(context.session.post(container_path(name, "/wait"))))

    return each(context, arguments.words, act)


_STOP_OPTIONS = (
    Option("-s --signal", "Signal to send to the container"),
    Option("-t --timeout", "Seconds to wait before killing the container", "number"),
    Option("--time", "Seconds to wait before killing the container", "number", hidden=True),
)


def _several(name: str, summary: str, verb: str, query: Query, *options: Option) -> Command:
    usage = f"{name} {'[OPTIONS] ' if options else ''}CONTAINER [CONTAINER...]"
    return Command(usage, summary, _poster(verb, query), options, least=1)


COMMANDS = {
    "stop": _several(
        "stop", "Stop one or more running containers", "stop", _stopping, *_STOP_OPTIONS
    ),
    "restart": _several(
        "restart", "Restart one or more containers", "restart", _stopping, *_STOP_OPTIONS
    ),
    "kill": _several(
        "kill",
        "Kill one or more running containers",
        "kill",
        _killing,
        Option("-s --signal", "Signal to send to the container"),
    ),
    "pause": _several(
        "pause", "Pause all processes within one or more containers", "pause", _nothing
    ),
    "unpause": _several(
        "unpause", "Unpause all processes within one or more containers", "unpause", _nothing
    ),
    "rm": Command(
        "rm [OPTIONS] CONTAINER [CONTAINER...]",
        "Remove one or more containers",
        _remove,
        (
            Option("-f --force", "Force the removal of a running container", "flag"),
            Option("-l --link", "Remove the specified link", "flag"),
            Option("-v --volumes", "Remove anonymous volumes of the container", "flag"),
        ),
        least=1,
    ),
    "rename": Command("rename CONTAINER NEW_NAME", "Rename a container", _rename, least=2, most=2),
    "wait": Command(
        "wait CONTAINER [CONTAINER...]",
        "Block until one or more containers stop, then print their exit codes",
        _wait,
        least=1,
    ),
}
