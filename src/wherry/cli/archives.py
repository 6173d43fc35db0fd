"""``save`` and ``load``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from wherry.cli.context import STDIN, STDOUT, Context, is_terminal
from wherry.cli.options import Arguments, Command, CommandError, Option
from wherry.cli.progress import show_all
from wherry.cli.pump import write_all
from wherry.client.transport import CHUNK

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import BinaryIO


def _save(context: Context, arguments: Arguments) -> int:
    path = arguments.text("output")
    if not path and is_terminal(STDOUT):
        raise CommandError("cowardly refusing to save to a terminal: use -o or redirect", 1)
    query = {"names": arguments.words, "platform": arguments.text("platform") or None}
    with context.session.request("GET", "/images/get", query) as response:
        if path:
            write_file(path, response.chunks())
            return 0
        for chunk in response.chunks():
            write_all(STDOUT, chunk)
    return 0


def write_file(path: str, chunks: Iterator[bytes]) -> None:
    """Write a file as a whole or not at all: it appears under its name when it is complete."""
    partial = f"{path}.{os.getpid()}.part"
    try:
        with _created(partial, path) as target:
            for chunk in chunks:
                target.write(chunk)
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.unlink(partial)
        raise


def _created(partial: str, path: str) -> BinaryIO:
    try:
        return open(partial, "wb")
    except OSError as error:  # about the name that the user knows
        raise OSError(error.errno, error.strerror, path) from None


def _load(context: Context, arguments: Arguments) -> int:
    path = arguments.text("input")
    if not path and is_terminal(STDIN):
        raise CommandError("requested load from stdin, but stdin is a terminal: use -i", 1)
    quiet = arguments.flag("quiet")
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else STDIN
    sys.stdout.flush()
    try:
        messages = context.session.progress(
            "POST",
            "/images/load",
            {"quiet": quiet, "platform": arguments.text("platform") or None},
            body=read_chunks(source),
            headers={"Content-Type": "application/x-tar"},
        )
        show_all(messages, STDOUT)
    finally:
        if path:
            os.close(source)
    return 0


def read_chunks(descriptor: int) -> Iterator[bytes]:
    """What a descriptor gives, to its end."""
    while data := os.read(descriptor, CHUNK):
        yield data


_PLATFORM = Option("--platform", "Work on the given platform variant only")
COMMANDS = {
    "save": Command(
        "save [OPTIONS] IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        _save,
        (Option("-o --output", "Write to a file, instead of STDOUT"), _PLATFORM),
        least=1,
    ),
    "load": Command(
        "load [OPTIONS]",
        "Load an image from a tar archive or STDIN",
        _load,
        (
            Option("-i --input", "Read from tar archive file, instead of STDIN"),
            Option("-q --quiet", "Suppress the load output", "flag"),
            _PLATFORM,
        ),
        most=0,
    ),
}
