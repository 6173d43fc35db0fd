"""``volume``."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import each
from wherry.cli.listing import FILTER, FORMAT, QUIET, Listing, Row, filters, labels_text
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.values import pairs
from wherry.client.session import quote

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = {"Driver": "DRIVER", "Name": "VOLUME NAME"}
_HIDDEN = {"Labels": "LABELS", "Mountpoint": "MOUNTPOINT", "Scope": "SCOPE"}


def _list(context: Context, arguments: Arguments) -> int:
    answer = context.session.get("/volumes", {"filters": filters(arguments)})
    rows = sorted(map(_row, answer.get("Volumes") or ()), key=lambda row: row["Name"])
    Listing(_COLUMNS, hidden=_HIDDEN, quiet="Name").show(context, rows, arguments)
    return 0


def _row(item: Any) -> Row:
    return {
        "Driver": item["Driver"],
        "Name": item["Name"],
        "Labels": labels_text(item.get("Labels")),
        "Mountpoint": item["Mountpoint"],
        "Scope": item.get("Scope") or "local",
    }


def _create(context: Context, arguments: Arguments) -> int:
    body = {
        "Name": arguments.words[0] if arguments.words else arguments.text("name"),
        "Driver": arguments.text("driver"),
        "DriverOpts": pairs(arguments.many("opt")),
        "Labels": pairs(arguments.many("label")),
    }
    context.print(context.session.post("/volumes/create", json=body)["Name"])
    return 0


def _remove(context: Context, arguments: Arguments) -> int:
    force = {"force": arguments.flag("force")}

    def act(name: str) -> None:
        context.session.delete(f"/volumes/{quote(name)}", force)

    return each(context, arguments.words, act)


COMMANDS = {
    "ls": Command("volume ls [OPTIONS]", "List volumes", _list, (FILTER, FORMAT, QUIET), most=0),
    "create": Command(
        "volume create [OPTIONS] [VOLUME]",
        "Create a volume",
        _create,
        (
            Option("-d --driver", "Specify volume driver name", default="local"),
            Option("--label", "Set metadata for a volume", "list"),
            Option("--name", "Name of the volume", hidden=True),
            Option("-o --opt", "Set driver specific options", "list"),
        ),
        most=1,
    ),
    "rm": Command(
        "volume rm [OPTIONS] VOLUME [VOLUME...]",
        "Remove one or more volumes",
        _remove,
        (Option("-f --force", "Force the removal of one or more volumes", "flag"),),
        least=1,
    ),
}
