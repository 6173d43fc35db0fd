"""``build``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from wherry.cli.archives import read_chunks
from wherry.cli.context import STDIN, STDOUT, Context, is_terminal
from wherry.cli.credentials import CredentialStore
from wherry.cli.options import Arguments, Command, CommandError, Option, UsageError
from wherry.cli.progress import Display, raise_error
from wherry.cli.values import environment, pairs, parse_size, parse_swap
from wherry.client.context import BuildContext, single_file_archive

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    Context_ = tuple[dict[str, Any], bytes | Iterable[bytes]]

_REMOTE = ("http://", "https://", "git://", "git@", "github.com/", "ssh://")
_TAR_MAGIC_AT = 257


def _build(context: Context, arguments: Arguments) -> int:
    place = arguments.words[0]
    extra, body = _build_context(place, arguments.text("file"))
    query = _query(context, arguments) | extra
    headers = {
        "Content-Type": "application/x-tar",
        **CredentialStore(context.config_directory).config_header(),
    }
    if arguments.flag("host-ca"):
        headers["X-Wherry-Host-CA"] = "1"
    messages = context.session.progress("POST", "/build", query, body=body, headers=headers)
    image = _show(messages, quiet=arguments.flag("quiet"))
    if path := arguments.text("iidfile"):
        with open(path, "w", encoding="ascii") as target:
            target.write(image)
    return 0


def _show(messages: Iterator[dict[str, Any]], *, quiet: bool) -> str:
    """Print the stream and return the image's id. Quietly: the id, or all that was said if it
    goes wrong."""
    sys.stdout.flush()
    display = Display(STDOUT)
    image, said = "", []
    for message in messages:
        image = str((message.get("aux") or {}).get("ID") or image)
        if not quiet:
            display.show(message)
            continue
        said.append(str(message.get("stream") or ""))
        try:
            raise_error(message)
        except CommandError:
            sys.stderr.write("".join(said))
            raise
    if quiet:
        print(image or "".join(said).strip())
    return image


def _query(context: Context, arguments: Arguments) -> dict[str, Any]:
    build_args = environment(arguments.many("build-arg"), (), context.environ)
    return {
        "t": arguments.many("tag"),
        "q": arguments.flag("quiet") or None,
        "nocache": arguments.flag("no-cache") or None,
        "pull": arguments.flag("pull") or None,
        "rm": arguments.flag("rm"),
        "forcerm": arguments.flag("force-rm") or None,
        "target": arguments.text("target") or None,
        "networkmode": arguments.text("network") or None,
        "platform": arguments.text("platform") or None,
        "squash": arguments.flag("squash") or None,
        "buildargs": pairs(build_args) or None,
        "labels": pairs(arguments.many("label")) or None,
        "extrahosts": ",".join(arguments.many("add-host")) or None,
        "cachefrom": _json_list(arguments.many("cache-from")),
        "memory": parse_size(arguments.text("memory")) or None,
        "memswap": parse_swap(arguments.text("memory-swap")) or None,
        "cpushares": arguments.number("cpu-shares") or None,
        "cpusetcpus": arguments.text("cpuset-cpus") or None,
        "cpuperiod": arguments.number("cpu-period") or None,
        "cpuquota": arguments.number("cpu-quota") or None,
        "shmsize": parse_size(arguments.text("shm-size")) or None,
        "cgroupparent": arguments.text("cgroup-parent") or None,
        "ulimits": _ulimits(arguments.many("ulimit")),
        "version": "1",
    }


def _json_list(values: list[str]) -> str | None:
    import json

    return json.dumps(values) if values else None


def _ulimits(texts: list[str]) -> str | None:
    import json

    from wherry.cli.create_body import parse_ulimit

    return json.dumps([parse_ulimit(text) for text in texts]) if texts else None


def _build_context(place: str, dockerfile: str) -> Context_:
    """What the place of the context adds to the query, and the request's body."""
    if place.startswith(_REMOTE):
        return {"remote": place, "dockerfile": dockerfile or None}, b""
    if place == "-":
        if dockerfile == "-":
            raise UsageError("invalid argument: can't use stdin for both context and Dockerfile")
        return _from_stdin(dockerfile)
    if dockerfile == "-":
        return _with_stdin_dockerfile(place)
    packed = BuildContext(place, os.path.abspath(dockerfile) if dockerfile else "")
    return {"dockerfile": packed.dockerfile_name}, packed.archive()


def _from_stdin(dockerfile: str) -> Context_:
    """A tar archive, or a Dockerfile without a context."""
    if is_terminal(STDIN):
        raise CommandError(
            "cannot read a build context from a terminal: redirect standard input", 1
        )
    chunks = read_chunks(STDIN)
    head = b""
    while len(head) < _TAR_MAGIC_AT + 5 and (chunk := next(chunks, b"")):
        head += chunk
    if _is_archive(head):
        return {"dockerfile": dockerfile or None}, _chain(head, chunks)
    return {"dockerfile": "Dockerfile"}, single_file_archive("Dockerfile", head + b"".join(chunks))


def _is_archive(head: bytes) -> bool:
    """A tar archive, plain or compressed (gzip, bzip2, xz, zstd)."""
    compressed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
    return head.startswith(compressed) or head[_TAR_MAGIC_AT:].startswith(b"ustar")


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def _with_stdin_dockerfile(place: str) -> Context_:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="wherry-build-") as directory:
        path = os.path.join(directory, "Dockerfile")
        with open(path, "wb") as target:
            target.writelines(read_chunks(STDIN))
        packed = BuildContext(place, path)
        body = b"".join(packed.archive())
    return {"dockerfile": packed.dockerfile_name}, body


COMMANDS = {
    "build": Command(
        "build [OPTIONS] PATH | URL | -",
        "Build an image from a Dockerfile",
        _build,
        (
            Option("--add-host", "Add a custom host-to-IP mapping (host:ip)", "list"),
            Option("--build-arg", "Set build-time variables", "list"),
            Option("--cache-from", "Images to consider as cache sources", "list"),
            Option("--cgroup-parent", "Optional parent cgroup for RUN steps"),
            Option("-c --cpu-shares", "CPU shares (relative weight)", "number"),
            Option("--cpu-period", "CPU CFS period in microseconds", "number"),
            Option("--cpu-quota", "CPU CFS quota in microseconds", "number"),
            Option("--cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
            Option("-f --file", "Name of the Dockerfile (default: PATH/Dockerfile)"),
            Option("--force-rm", "Always remove intermediate containers", "flag"),
            Option("--host-ca", "Show the host's certificate authorities to RUN steps", "flag"),
            Option("--iidfile", "Write the image ID to the file"),
            Option("--label", "Set metadata for an image", "list"),
            Option("-m --memory", "Memory limit", metavar="bytes"),
            Option("--memory-swap", "Memory and swap limit", metavar="bytes"),
            Option("--network", "Networking mode for the RUN steps"),
            Option("--no-cache", "Do not use cache when building the image", "flag"),
            Option("--platform", "Set target platform for build"),
            Option("--progress", "Type of progress output (plain)", default="plain"),
            Option("--pull", "Always attempt to pull a newer version of the image", "flag"),
            Option("-q --quiet", "Print image ID on success", "flag"),
            Option("--rm", "Remove intermediate containers", "flag", default="true"),
            Option("--shm-size", "Size of /dev/shm", metavar="bytes"),
            Option("--squash", "Squash newly built layers into one", "flag"),
            Option("-t --tag", "Name and optionally a tag (format: name:tag)", "list"),
            Option("--target", "Set the target build stage to build"),
            Option("--ulimit", "Ulimit options", "list"),
        ),
        least=1,
        most=1,
    )
}
