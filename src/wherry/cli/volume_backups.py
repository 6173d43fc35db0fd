"""``volume export``, ``import``, ``clone`` and ``snapshot``."""

from __future__ import annotations

import os

from wherry.cli.archives import read_chunks, write_file
from wherry.cli.context import STDIN, STDOUT, Context, is_terminal
from wherry.cli.options import Arguments, Command, CommandError, Option
from wherry.cli.pump import write_all
from wherry.cli.values import pairs
from wherry.client.session import decode_json, quote


def _export(context: Context, arguments: Arguments) -> int:
    output = arguments.text("output")
    if not output and is_terminal(STDOUT):
        raise CommandError("cowardly refusing to write to a terminal: use -o or redirect", 1)
    path = _path(arguments.words[0], "export")
    with context.session.request("GET", path, _pause(arguments)) as response:
        if output:
            write_file(output, response.chunks())
            return 0
        for chunk in response.chunks():
            write_all(STDOUT, chunk)
    return 0


def _import(context: Context, arguments: Arguments) -> int:
    source = arguments.text("input")
    if not source and is_terminal(STDIN):
        raise CommandError("the archive is to come from stdin, which is a terminal: use -i", 1)
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC) if source else STDIN
    try:
        with context.session.request(
            "POST",
            _path(arguments.words[0], "import"),
            body=read_chunks(descriptor),
            headers={"Content-Type": "application/x-tar"},
        ) as response:
            context.print(decode_json(response.read())["Name"])
    finally:
        if source:
            os.close(descriptor)
    return 0


def _clone(context: Context, arguments: Arguments) -> int:
    labels = pairs(arguments.many("label"))
    return _copy(context, arguments, "clone", {"Labels": labels} if labels else {})


def _snapshot(context: Context, arguments: Arguments) -> int:
    return _copy(context, arguments, "snapshots", {})


def _copy(context: Context, arguments: Arguments, verb: str, body: dict[str, object]) -> int:
    name, *new = arguments.words
    if new:
        body["Name"] = new[0]
    made = context.session.post(_path(name, verb), _pause(arguments), json=body)
    context.print(made["Name"])
    return 0


def _path(name: str, verb: str) -> str:
    return f"/volumes/{quote(name)}/{verb}"


def _pause(arguments: Arguments) -> dict[str, bool]:
    return {"pause": arguments.flag("pause")}


_PAUSE = Option("--pause", "Pause the containers that use the volume meanwhile", "flag")

COMMANDS = {
    "export": Command(
        "volume export [OPTIONS] VOLUME",
        "Write the content of a volume to a tar archive (streamed to STDOUT by default)",
        _export,
        (Option("-o --output", "Write to a file, instead of STDOUT"), _PAUSE),
        least=1,
        most=1,
    ),
    "import": Command(
        "volume import [OPTIONS] VOLUME",
        "Fill an empty or new volume from a tar archive, compressed or not",
        _import,
        (Option("-i --input", "Read from a file, instead of STDIN"),),
        least=1,
        most=1,
    ),
    "clone": Command(
        "volume clone [OPTIONS] VOLUME [NEW_VOLUME]",
        "Make a volume with the content of another",
        _clone,
        (Option("--label", "Set metadata for the new volume", "list"), _PAUSE),
        least=1,
        most=2,
    ),
    "snapshot": Command(
        "volume snapshot [OPTIONS] VOLUME [SNAPSHOT]",
        "Keep what is in a volume now as another volume",
        _snapshot,
        (_PAUSE,),
        least=1,
        most=2,
    ),
}
