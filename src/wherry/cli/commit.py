"""``commit`` and ``import``: images out of containers and archives."""

from __future__ import annotations

import contextlib
import os
import sys

from wherry.cli.archives import read_chunks
from wherry.cli.context import STDIN, STDOUT, Context, is_terminal
from wherry.cli.options import Arguments, Command, CommandError, Option
from wherry.cli.progress import show_all
from wherry.cli.values import split_image

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def _commit(context: Context, arguments: Arguments) -> int:
    container, *name = arguments.words
    query = {
        "container": container,
        "author": arguments.text("author") or None,
        "comment": arguments.text("message") or None,
        "changes": arguments.many("change"),
        "pause": arguments.flag("pause"),
        **_target(name),
    }
    context.print(context.session.post("/commit", query)["Id"])
    return 0


def _target(name: list[str]) -> dict[str, str | None]:
    repository, tag = split_image(name[0]) if name else ("", "")
    return {"repo": repository or None, "tag": tag or None}


def _import(context: Context, arguments: Arguments) -> int:
    source, *name = arguments.words
    remote = "://" in source
    query: dict[str, Any] = {
        "fromSrc": source if remote else "-",
        "message": arguments.text("message") or None,
        "changes": arguments.many("change"),
        "platform": arguments.text("platform") or None,
        **_target(name),
    }
    sys.stdout.flush()
    with contextlib.nullcontext(None) if remote else _archive(source) as body:
        messages = context.session.progress("POST", "/images/create", query, body=body)
        show_all(messages, STDOUT)
    return 0


@contextlib.contextmanager
def _archive(path: str) -> Iterator[Iterator[bytes]]:
    if path == "-":
        if is_terminal(STDIN):
            raise CommandError("an archive is wanted on standard input, which is a terminal", 1)
        yield read_chunks(STDIN)
        return
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield read_chunks(source)
    finally:
        os.close(source)


_CHANGE = Option("-c --change", "Apply a Dockerfile instruction to the created image", "list")
COMMANDS = {
    "commit": Command(
        "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        _commit,
        (
            Option("-a --author", "Author (e.g., 'Ada Lovelace <ada@example.com>')"),
            _CHANGE,
            Option("-m --message", "Commit message"),
            Option("-p --pause", "Pause the container during commit", "flag", default="true"),
        ),
        least=1,
        most=2,
    ),
    "import": Command(
        "import [OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]",
        "Create an image from the file system in an archive",
        _import,
        (
            _CHANGE,
            Option("-m --message", "Commit message for the imported image"),
            Option("--platform", "Platform of the image (os[/architecture[/variant]])"),
        ),
        least=1,
        most=2,
    ),
}
