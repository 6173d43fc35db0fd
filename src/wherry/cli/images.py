"""``images``, ``rmi``, ``tag`` and ``history``."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.cli.context import Context
from wherry.cli.each import image_path
from wherry.cli.listing import FILTER, FORMAT, NO_TRUNC, QUIET, Listing, Row, filters
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.text import ago, ellipsis, human_size, local_stamp, short_id
from wherry.cli.values import split_image
from wherry.errors import WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_NONE = "<none>"
_IMAGE_COLUMNS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
}
_HISTORY_COLUMNS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_CREATED_BY_WIDTH = 45


# --- images -------------------------------------------------------------------------------------


def _images(context: Context, arguments: Arguments) -> int:
    asked = filters(arguments) or {}
    if arguments.words:
        asked.setdefault("reference", []).append(arguments.words[0])
    query = {"all": arguments.flag("all") or None, "filters": asked or None}
    items = context.session.get("/images/json", query)
    truncate = not arguments.flag("no-trunc")
    digests = arguments.flag("digests") or ".Digest" in arguments.text("format")
    rows = [row for item in items for row in image_rows(item, truncate, digests)]
    columns, hidden = dict(_IMAGE_COLUMNS), {"CreatedAt": "CREATED AT", "Containers": "CONTAINERS"}
    if not arguments.flag("digests"):
        hidden["Digest"] = columns.pop("Digest")
    Listing(columns, hidden=hidden).show(context, _once(rows, arguments), arguments)
    return 0


def _once(rows: list[Row], arguments: Arguments) -> list[Row]:
    """With ``--quiet`` an image with several names is listed once."""
    return list({row["ID"]: row for row in rows}.values()) if arguments.flag("quiet") else rows


def image_rows(item: Any, truncate: bool, digests: bool) -> Iterator[Row]:
    """An image of a list: a row for each of its names."""
    common = {
        "ID": short_id(item["Id"]) if truncate else item["Id"],
        "CreatedSince": ago(item["Created"]),
        "CreatedAt": local_stamp(item["Created"]),
        "Size": human_size(item["Size"]),
        "Containers": str(item["Containers"]) if item.get("Containers", -1) >= 0 else "N/A",
    }
    tags = [split_image(name) for name in item.get("RepoTags") or ()]
    known = dict(split_image(name) for name in item.get("RepoDigests") or ())
    tags = [(repository, tag) for repository, tag in tags if repository != _NONE]
    if not tags:
        only = [(name, digest) for name, digest in known.items() if name != _NONE]
        for repository, digest in only or [(_NONE, _NONE)]:
            yield {"Repository": repository, "Tag": _NONE, "Digest": digest, **common}
    for repository, tag in tags:
        digest = known.get(repository, _NONE) if digests else _NONE
        yield {"Repository": repository, "Tag": tag, "Digest": digest, **common}


# --- rmi, tag -----------------------------------------------------------------------------------


def _remove(context: Context, arguments: Arguments) -> int:
    query = {"force": arguments.flag("force"), "noprune": arguments.flag("no-prune")}
    failed = False
    for name in arguments.words:
        try:
            removed = context.session.delete(image_path(name), query)
        except WherryError as error:
            context.complain(f"wherry: {error}")
            failed = not (arguments.flag("force") and "no such image" in str(error).lower())
            continue
        for line in removed or ():
            for what, title in (("Untagged", "Untagged"), ("Deleted", "Deleted")):
                if line.get(what):
                    context.print(f"{title}: {line[what]}")
    return int(failed)


def _tag(context: Context, arguments: Arguments) -> int:
    source, target = arguments.words
    repository, tag = split_image(target)
    context.session.post(image_path(source, "/tag"), {"repo": repository, "tag": tag or None})
    return 0


# --- history ------------------------------------------------------------------------------------


def _history(context: Context, arguments: Arguments) -> int:
    truncate = not arguments.flag("no-trunc")
    human = arguments.flag("human")
    items = context.session.get(image_path(arguments.words[0], "/history"))
    rows = [_history_row(item, truncate, human) for item in items]
    hidden = {"CreatedAt": "CREATED AT"}
    Listing(_HISTORY_COLUMNS, hidden=hidden).show(context, rows, arguments)
    return 0


def _history_row(item: Any, truncate: bool, human: bool) -> Row:
    by = item["CreatedBy"].replace("\t", " ")
    when = local_stamp(item["Created"])
    return {
        "ID": short_id(item["Id"]) if truncate else item["Id"],
        "CreatedSince": ago(item["Created"]) if human else when,
        "CreatedAt": when,
        "CreatedBy": ellipsis(by, _CREATED_BY_WIDTH) if truncate else by,
        "Size": human_size(item["Size"]) if human else str(item["Size"]),
        "Comment": item.get("Comment") or "",
    }


_LIST = Command(
    "images [OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    _images,
    (
        Option("-a --all", "Show all images (default hides intermediate images)", "flag"),
        Option("--digests", "Show digests", "flag"),
        FILTER,
        FORMAT,
        NO_TRUNC,
        QUIET,
    ),
    most=1,
)
_REMOVE = Command(
    "rmi [OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    _remove,
    (
        Option("-f --force", "Force removal of the image", "flag"),
        Option("--no-prune", "Do not delete untagged parents", "flag"),
    ),
    least=1,
)
COMMANDS = {
    "images": _LIST,
    "image ls": _LIST,
    "rmi": _REMOVE,
    "image rm": _REMOVE,
    "tag": Command(
        "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        _tag,
        least=2,
        most=2,
    ),
    "history": Command(
        "history [OPTIONS] IMAGE",
        "Show the history of an image",
        _history,
        (
            FORMAT,
            Option("-H --human", "Print sizes and dates in human format", "flag", default="true"),
            NO_TRUNC,
            QUIET,
        ),
        least=1,
        most=1,
    ),
}
