"""``pull`` and ``push``."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.cli.context import STDERR, STDOUT, Context
from wherry.cli.credentials import CredentialStore
from wherry.cli.each import image_path
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.progress import show_all
from wherry.cli.values import split_image

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any


def _pull(context: Context, arguments: Arguments) -> int:
    name = arguments.words[0]
    everything = arguments.flag("all-tags")
    if not everything and not split_image(name)[1] and not arguments.flag("quiet"):
        context.print("Using default tag: latest")
        _flush()
    pull_image(
        context,
        name,
        platform=arguments.text("platform"),
        quiet=arguments.flag("quiet"),
        output=STDOUT,
        all_tags=everything,
    )
    context.print(_full_name(name, everything))
    return 0


def pull_image(
    context: Context,
    name: str,
    *,
    platform: str = "",
    quiet: bool = False,
    output: int = STDERR,
    all_tags: bool = False,
) -> None:
    """Pull, showing progress on the descriptor ``output``."""
    repository, tag = split_image(name)
    query = {
        "fromImage": repository,
        "tag": None if all_tags else tag or "latest",
        "platform": platform or None,
    }
    headers = CredentialStore(context.config_directory).header(name)
    messages = context.session.progress("POST", "/images/create", query, headers=headers)
    show_all(messages, output, quiet=quiet)


def _full_name(name: str, everything: bool) -> str:
    repository, tag = split_image(name)
    first, slash, _ = repository.partition("/")
    if not slash:
        repository = f"docker.io/library/{repository}"
    elif "." not in first and ":" not in first and first != "localhost":
        repository = f"docker.io/{repository}"
    if everything:
        return repository
    return f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag or 'latest'}"


def _push(context: Context, arguments: Arguments) -> int:
    name = arguments.words[0]
    repository, tag = split_image(name)
    everything, quiet = arguments.flag("all-tags"), arguments.flag("quiet")
    if not everything and not tag and not quiet:
        context.print("Using default tag: latest")
    query = {"tag": None if everything else tag or "latest"}
    headers = CredentialStore(context.config_directory).header(name)
    if not quiet:
        context.print(f"The push refers to repository [{_full_name(repository, True)}]")
        _flush()
    messages = context.session.progress(
        "POST", image_path(repository, "/push"), query, headers=headers
    )
    show_all(_without_repetition(messages), STDOUT, quiet=quiet)
    if quiet:
        context.print(_full_name(name, everything))
    return 0


def _without_repetition(messages: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without the line that the command has printed itself, and which engines send, too."""
    for message in messages:
        if not str(message.get("status", "")).startswith("The push refers to repository"):
            yield message


def _flush() -> None:
    """What follows is written past the buffer of standard output."""
    import sys

    sys.stdout.flush()


_COMMON = (
    Option("-q --quiet", "Suppress verbose output", "flag"),
    Option("--platform", "Set platform if server is multi-platform capable"),
    Option(
        "--disable-content-trust", "Skip image verification", "flag", default="true", hidden=True
    ),
)
COMMANDS = {
    "pull": Command(
        "pull [OPTIONS] NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        _pull,
        (*_COMMON, Option("-a --all-tags", "Download all tagged images in the repository", "flag")),
        least=1,
        most=1,
    ),
    "push": Command(
        "push [OPTIONS] NAME[:TAG]",
        "Upload an image to a registry",
        _push,
        (*_COMMON, Option("-a --all-tags", "Push all tags of an image to the repository", "flag")),
        least=1,
        most=1,
    ),
}
