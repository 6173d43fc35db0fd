"""``top``, ``port`` and ``diff``."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import container_path
from wherry.cli.options import Arguments, Command, CommandError
from wherry.cli.text import table

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_KINDS = "CAD"  # changed, added, deleted: the API's 0, 1 and 2


def _top(context: Context, arguments: Arguments) -> int:
    name, *ps_args = arguments.words
    query = {"ps_args": " ".join(ps_args) or None}
    answer = context.session.get(container_path(name, "/top"), query)
    for line in table([answer["Titles"], *(answer["Processes"] or ())]):
        context.print(line)
    return 0


def _port(context: Context, arguments: Arguments) -> int:
    name, *wanted = arguments.words
    details = context.session.get(container_path(name, "/json"))
    published = (details.get("NetworkSettings") or {}).get("Ports") or {}
    if wanted:
        return _one_port(context, name, wanted[0], published)
    for port in sorted(published, key=_port_key):
        for binding in published[port] or ():
            context.print(f"{port} -> {_address(binding)}")
    return 0


def _one_port(context: Context, name: str, wanted: str, published: dict[str, Any]) -> int:
    port = wanted if "/" in wanted else f"{wanted}/tcp"
    bindings = published.get(port)
    if not bindings:
        raise CommandError(f"no public port '{wanted}' published for {name}", 1)
    for binding in bindings:
        context.print(_address(binding))
    return 0


def _port_key(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol


def _address(binding: dict[str, str]) -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


def _diff(context: Context, arguments: Arguments) -> int:
    changes = context.session.get(container_path(arguments.words[0], "/changes"))
    for change in changes or ():
        context.print(f"{_KINDS[change['Kind']]} {change['Path']}")
    return 0


COMMANDS = {
    "top": Command(
        "top CONTAINER [ps OPTIONS]",
        "Display the running processes of a container",
        _top,
        least=1,
        passes_on=True,
    ),
    "port": Command(
        "port CONTAINER [PRIVATE_PORT[/PROTO]]",
        "List port mappings or a specific mapping for the container",
        _port,
        least=1,
        most=2,
    ),
    "diff": Command(
        "diff CONTAINER",
        "Inspect changes to files or directories on a container's filesystem",
        _diff,
        least=1,
        most=1,
    ),
}
