"""``run`` and ``create``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.cli.context import Context
from wherry.cli.create_body import attached, create_body
from wherry.cli.create_options import CREATE
from wherry.cli.interact import (
    attach_query,
    check_terminal,
    container_interaction,
    start,
    start_attached,
)
from wherry.cli.options import Arguments, Command, CommandError, Option, UsageError
from wherry.cli.terminal import window_size
from wherry.errors import NotFound, WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_DAEMON_FAILED = 125


def _run(context: Context, arguments: Arguments) -> int:
    detach = arguments.flag("detach")
    stdin, stdout, stderr = attached(arguments)
    tty = arguments.flag("tty")
    if not detach:
        check_terminal(tty=tty, stdin=stdin)
    with _as_status(_DAEMON_FAILED):
        identifier = _create_container(context, arguments)
        path = f"/containers/{identifier}"
        if detach:
            start(context, path)
            context.print(identifier)
            return 0
        interaction = container_interaction(context, arguments, path, tty=tty, stdin=stdin)
        query = attach_query(arguments, stdin=stdin, stdout=stdout, stderr=stderr)
        return start_attached(context, path, interaction, query, removed=arguments.flag("rm"))


@contextmanager
def _as_status(code: int) -> Iterator[None]:
    """Errors of the engine, and files that cannot be read, have this exit status."""
    try:
        yield
    except (UsageError, CommandError):
        raise
    except WherryError as error:
        raise CommandError(str(error), code) from None
    except FileNotFoundError as error:
        raise CommandError(f"{error.filename}: no such file", code) from None


# --- creation -----------------------------------------------------------------------------------


def _create(context: Context, arguments: Arguments) -> int:
    context.print(_create_container(context, arguments))
    return 0


def _create_container(context: Context, arguments: Arguments) -> str:
    """Create the container, pulling its image if need be, and return its id."""
    policy = arguments.text("pull")
    if policy not in ("always", "missing", "never"):
        raise UsageError(f"invalid pull option: '{policy}': must be always, missing or never")
    body = create_body(arguments, context.environ)
    if arguments.flag("tty") and (size := window_size()):
        body["HostConfig"]["ConsoleSize"] = size
    with _id_file(arguments.text("cidfile")) as remember:
        if policy == "always":
            _pull(context, arguments)
        try:
            answer = _post(context, arguments, body)
        except NotFound as error:
            if policy != "missing" or "no such image" not in str(error).lower():
                raise
            context.complain(f"Unable to find image '{_tagged(arguments.words[0])}' locally")
            _pull(context, arguments)
            answer = _post(context, arguments, body)
        remember(answer["Id"])
    for warning in answer.get("Warnings") or ():
        context.complain(f"WARNING: {warning}")
    return str(answer["Id"])


def _post(context: Context, arguments: Arguments, body: object) -> Any:
    query = {"name": arguments.text("name") or None, "platform": arguments.text("platform") or None}
    return context.session.post("/containers/create", query, json=body)


def _pull(context: Context, arguments: Arguments) -> None:
    from wherry.cli.transfer import pull_image

    pull_image(
        context,
        arguments.words[0],
        platform=arguments.text("platform"),
        quiet=arguments.flag("quiet"),
        output=2,
    )


def _tagged(name: str) -> str:
    from wherry.cli.values import split_image

    return name if split_image(name)[1] else f"{name}:latest"


@contextmanager
def _id_file(path: str) -> Iterator[Any]:
    """Reserve the file for the id, and take it away again if there will be none."""
    if not path:
        yield lambda identifier: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise CommandError(
            "container ID file found, make sure the other container "
            f"isn't running or delete {path}",
            _DAEMON_FAILED,
        ) from None
    try:
        yield lambda identifier: os.write(descriptor, identifier.encode())
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


_ONLY_RUN = (
    Option("-d --detach", "Run container in background and print container ID", "flag"),
    Option("--detach-keys", "Override the key sequence for detaching a container"),
    Option("--sig-proxy", "Proxy received signals to the process", "flag", default="true"),
)

COMMANDS = {
    "run": Command(
        "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create and run a new container from an image",
        _run,
        (*CREATE, *_ONLY_RUN),
        least=1,
        passes_on=True,
    ),
    "create": Command(
        "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create a new container",
        _create,
        CREATE,
        least=1,
        passes_on=True,
    ),
}
