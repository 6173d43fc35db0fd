"""``cp`` and ``export``.

The engine resolves links inside the container (it alone can do so safely); here is what concerns
the local side. ``SRC/.`` means the contents of a directory, a target that ends in ``/`` must be a
directory, and no parents are made.
"""

from __future__ import annotations

import base64
import os
import posixpath
import stat
import tarfile
import tempfile
from collections.abc import Iterator

from wherry.cli.archives import read_chunks, write_file
from wherry.cli.context import STDIN, STDOUT, Context, is_terminal
from wherry.cli.each import container_path
from wherry.cli.options import Arguments, Command, CommandError, Option
from wherry.cli.pump import write_all
from wherry.client.session import decode_json
from wherry.client.transport import CHUNK
from wherry.errors import NotFound

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_GO_DIRECTORY = 1 << 31  # os.ModeDir of Go, in the header's "mode"
_SPOOL = 16 * 1024 * 1024  # bytes held in memory before a file is used


def _copy(context: Context, arguments: Arguments) -> int:
    source, target = arguments.words
    from_container, from_path = _split(source)
    to_container, to_path = _split(target)
    if bool(from_container) == bool(to_container):
        raise CommandError("cp copies between a container and this machine: name one container", 1)
    options = {"follow": arguments.flag("follow-link"), "archive": arguments.flag("archive")}
    if from_container:
        _out(context, from_container, from_path, to_path, options)
    else:
        _into(context, from_path, to_container, to_path, options)
    return 0


def _split(text: str) -> tuple[str, str]:
    """Container and path; no container for a path that begins with a dot or a slash."""
    name, colon, path = text.partition(":")
    if text.startswith((".", "/")) or not colon:
        return "", text
    return name, path


def _stat(context: Context, container: str, path: str) -> dict[str, Any] | None:
    """The engine's PathStat, None if there is no such path in the container."""
    try:
        response = context.session.request(
            "HEAD", container_path(container, "/archive"), {"path": path}
        )
    except NotFound as error:
        if "No such container" in str(error):
            raise
        return None
    response.read()
    found = decode_json(base64.b64decode(response.header("x-docker-container-path-stat")))
    return dict(found)


# --- out of a container ---------------------------------------------------------------------------


def _out(
    context: Context, container: str, path: str, target: str, options: dict[str, bool]
) -> None:
    if options["follow"] and (found := _stat(context, container, path)) and found["linkTarget"]:
        path = found["linkTarget"]
    query = {"path": path}
    with context.session.request("GET", container_path(container, "/archive"), query) as answer:
        if target == "-":
            if is_terminal(STDOUT):
                raise CommandError("refusing to write an archive to a terminal: redirect it", 1)
            for chunk in answer.chunks():
                write_all(STDOUT, chunk)
            return
        about = decode_json(base64.b64decode(answer.header("x-docker-container-path-stat")))
        directory = bool(about["mode"] & _GO_DIRECTORY)
        place, name = _place(path, target, directory)
        from wherry.cli.unpacking import unpack

        unpack(answer.chunks(), place, name, keep_owner=options["archive"])


def _place(path: str, target: str, directory: bool) -> tuple[str, str]:
    """The local directory to extract in, and the name of the copy there (``.``: its contents)."""
    contents = posixpath.basename(path) == "." or path.endswith("/.")
    if os.path.isdir(target):
        return target, "." if contents else posixpath.basename(path.rstrip("/")) or "."
    if target.endswith("/") and not directory:
        raise CommandError(f"destination directory {target} must exist", 1)
    if directory and os.path.lexists(target):
        raise CommandError(f"cannot copy a directory over the file {target}", 1)
    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(parent):
        raise CommandError(f"no such directory: {parent}", 1)
    return parent, os.path.basename(os.path.abspath(target))


# --- into a container -----------------------------------------------------------------------------


def _into(
    context: Context, source: str, container: str, target: str, options: dict[str, bool]
) -> None:
    body: Iterator[bytes]
    if source == "-":
        directory, body = target, read_chunks(STDIN)
    else:
        real = os.path.realpath(source) if options["follow"] else source
        directory, name = _destination(context, source, real, container, target)
        body = _packed(real, name)
    query = {
        "path": directory,
        "noOverwriteDirNonDir": True,
        "copyUIDGID": options["archive"] or None,
    }
    headers = {"Content-Type": "application/x-tar"}
    path = container_path(container, "/archive")
    context.session.request("PUT", path, query, body=body, headers=headers).read()


def _destination(
    context: Context, source: str, real: str, container: str, target: str
) -> tuple[str, str]:
    """The directory in the container, and the name there (``.``: the contents)."""
    status = os.lstat(real)
    contents = source.endswith("/.") or source == "."
    about = _stat(context, container, target)
    if about and about["linkTarget"]:
        about = _stat(context, container, about["linkTarget"])
    if about and about["mode"] & _GO_DIRECTORY:
        return target, "." if contents else os.path.basename(os.path.abspath(source))
    directory = stat.S_ISDIR(status.st_mode)
    if about and directory:
        raise CommandError(f"cannot copy a directory over the file {container}:{target}", 1)
    if not about and target.endswith("/") and not directory:
        raise CommandError(f"destination directory {container}:{target} must exist", 1)
    parent, name = posixpath.split(target.rstrip("/"))
    return parent or "/", name


def _packed(path: str, name: str) -> Iterator[bytes]:
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
        with tarfile.open(fileobj=spool, mode="w:", format=tarfile.PAX_FORMAT) as archive:
            archive.add(path, arcname=name)
        spool.seek(0)
        while data := spool.read(CHUNK):
            yield data


# --- export -------------------------------------------------------------------------------------


def _export(context: Context, arguments: Arguments) -> int:
    path = arguments.text("output")
    if not path and is_terminal(STDOUT):
        raise CommandError("cowardly refusing to save to a terminal: use -o or redirect", 1)
    where = container_path(arguments.words[0], "/export")
    with context.session.request("GET", where) as response:
        if path:
            write_file(path, response.chunks())
            return 0
        for chunk in response.chunks():
            write_all(STDOUT, chunk)
    return 0


COMMANDS = {
    "cp": Command(
        "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n        "
        "wherry cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        "Copy files/folders between a container and the local filesystem",
        _copy,
        (
            Option("-a --archive", "Archive mode (copy all uid/gid information)", "flag"),
            Option("-L --follow-link", "Always follow symbol link in SRC_PATH", "flag"),
            Option("-q --quiet", "Suppress progress output during copy", "flag"),
        ),
        least=2,
        most=2,
    ),
    "export": Command(
        "export [OPTIONS] CONTAINER",
        "Export a container's filesystem as a tar archive",
        _export,
        (Option("-o --output", "Write to a file, instead of STDOUT"),),
        least=1,
        most=1,
    ),
}
