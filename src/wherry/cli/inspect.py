"""``inspect`` of anything, and of one kind of object."""

from __future__ import annotations

import json

from wherry.cli.context import Context
from wherry.cli.each import container_path, image_path
from wherry.cli.options import Arguments, Command, Option, UsageError
from wherry.client.session import quote
from wherry.errors import InvalidArgument, NotFound, WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Path = Callable[[str], str]

PATHS: dict[str, Path] = {
    "container": lambda name: container_path(name, "/json"),
    "image": lambda name: image_path(name, "/json"),
    "network": lambda name: f"/networks/{quote(name)}",
    "volume": lambda name: f"/volumes/{quote(name)}",
}

FORMAT = Option("-f --format", "Format output using a custom template: 'json' or a Go template")
SIZE = Option("-s --size", "Display total file sizes if the type is container", "flag")


def _inspect(context: Context, arguments: Arguments) -> int:
    kind = arguments.text("type")
    if kind and kind not in PATHS:
        raise UsageError(f'"{kind}" is not a valid value for --type', 1)
    return inspect(context, arguments, (kind,) if kind else tuple(PATHS))


def inspect(context: Context, arguments: Arguments, kinds: tuple[str, ...]) -> int:
    """Print each object that was named, looked for in the order of ``kinds``."""
    found: list[Any] = []
    complaints: list[str] = []
    query = {
        name: True for name in ("size", "verbose") if name in arguments and arguments.flag(name)
    }
    for name in arguments.words:
        try:
            found.append(_look_up(context, name, kinds, query))
        except WherryError as error:
            complaints.append(str(error))
    _show(context, found, arguments.text("format"))
    for complaint in complaints:
        context.complain(f"wherry: {complaint}")
    return int(bool(complaints))


def _look_up(context: Context, name: str, kinds: tuple[str, ...], query: dict[str, Any]) -> Any:
    for kind in kinds:
        try:
            known = query if kind == "container" or len(kinds) == 1 else {}
            return context.session.get(PATHS[kind](name), known)
        except (NotFound, InvalidArgument):
            if len(kinds) == 1:
                raise
    raise NotFound(f"No such object: {name}")


def _show(context: Context, found: list[Any], form: str) -> None:
    if not form:
        context.print(json.dumps(found, indent=4, ensure_ascii=False))
        return
    from wherry.cli.template import Template

    template = Template("{{json .}}" if form == "json" else form)
    for item in found:
        context.print(template.render(item))


COMMANDS = {
    "inspect": Command(
        "inspect [OPTIONS] NAME|ID [NAME|ID...]",
        "Return low-level information on objects",
        _inspect,
        (FORMAT, SIZE, Option("--type", "Return JSON for specified type")),
        least=1,
    )
}
