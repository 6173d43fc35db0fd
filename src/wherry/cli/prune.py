"""``prune`` of every kind."""

from __future__ import annotations

import sys

from wherry.cli.context import Context
from wherry.cli.listing import FILTER, filters
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.text import human_size

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_FORCE = Option("-f --force", "Do not prompt for confirmation", "flag")
_STOPPED = "all stopped containers"
_NETWORKS = "all networks not used by at least one container"
_DANGLING = "all dangling images"
_UNUSED = "all images without at least one container associated to them"
_ANONYMOUS = "all anonymous local volumes not used by at least one container"
_VOLUMES = "all local volumes not used by at least one container"


def _confirmed(arguments: Arguments, *things: str) -> bool:
    if arguments.flag("force"):
        return True
    print("WARNING! This will remove:")
    print("\n".join(f"  - {thing}" for thing in things))
    print("\nAre you sure you want to continue? [y/N] ", end="")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _containers(context: Context, arguments: Arguments) -> int:
    if _confirmed(arguments, _STOPPED):
        _total(_prune_containers(context, filters(arguments)))
    return 0


def _networks(context: Context, arguments: Arguments) -> int:
    if _confirmed(arguments, _NETWORKS):
        _prune_networks(context, filters(arguments))
    return 0


def _images(context: Context, arguments: Arguments) -> int:
    everything = arguments.flag("all")
    if _confirmed(arguments, _UNUSED if everything else _DANGLING):
        _total(_prune_images(context, filters(arguments), everything))
    return 0


def _volumes(context: Context, arguments: Arguments) -> int:
    everything = arguments.flag("all")
    if _confirmed(arguments, _VOLUMES if everything else _ANONYMOUS):
        _total(_prune_volumes(context, filters(arguments), everything))
    return 0


def _system(context: Context, arguments: Arguments) -> int:
    everything, volumes = arguments.flag("all"), arguments.flag("volumes")
    things = [_STOPPED, _NETWORKS, _UNUSED if everything else _DANGLING]
    if not _confirmed(arguments, *things, *([_ANONYMOUS] if volumes else [])):
        return 0
    asked = filters(arguments)
    reclaimed = _prune_containers(context, asked)
    _prune_networks(context, asked)
    if volumes:
        reclaimed += _prune_volumes(context, asked, False)
    _total(reclaimed + _prune_images(context, asked, everything))
    return 0


def _prune(context: Context, kind: str, asked: dict[str, list[str]] | None) -> Any:
    return context.session.post(f"/{kind}/prune", {"filters": asked}) or {}


def _prune_containers(context: Context, asked: dict[str, list[str]] | None) -> int:
    answer = _prune(context, "containers", asked)
    _show("Deleted Containers:", answer.get("ContainersDeleted"))
    return answer.get("SpaceReclaimed") or 0


def _prune_networks(context: Context, asked: dict[str, list[str]] | None) -> None:
    _show("Deleted Networks:", _prune(context, "networks", asked).get("NetworksDeleted"))


def _prune_images(context: Context, asked: dict[str, list[str]] | None, everything: bool) -> int:
    wanted = {**(asked or {}), "dangling": ["false" if everything else "true"]}
    answer = _prune(context, "images", wanted)
    lines = [
        f"{what.lower()}: {item[what]}"
        for item in answer.get("ImagesDeleted") or ()
        for what in ("Untagged", "Deleted")
        if item.get(what)
    ]
    _show("Deleted Images:", lines)
    return answer.get("SpaceReclaimed") or 0


def _prune_volumes(context: Context, asked: dict[str, list[str]] | None, everything: bool) -> int:
    wanted = {**(asked or {}), "all": ["true"]} if everything else asked
    answer = _prune(context, "volumes", wanted)
    _show("Deleted Volumes:", answer.get("VolumesDeleted"))
    return answer.get("SpaceReclaimed") or 0


def _show(title: str, lines: list[str] | None) -> None:
    if lines:
        print("\n".join([title, *lines]) + "\n")


def _total(reclaimed: int) -> None:
    print(f"Total reclaimed space: {human_size(reclaimed)}")


_ALL_IMAGES = Option("-a --all", "Remove all unused images, not just dangling ones", "flag")
_ALL_VOLUMES = Option("-a --all", "Remove all unused volumes, not just anonymous ones", "flag")
_TOO = Option("--volumes", "Prune anonymous volumes, too", "flag")
_LONG_FILTER = Option("--filter", FILTER.text, "list", metavar="filter")
_COMMON = (_FORCE, _LONG_FILTER)

COMMANDS = {
    "container prune": Command(
        "container prune [OPTIONS]", "Remove all stopped containers", _containers, _COMMON, most=0
    ),
    "image prune": Command(
        "image prune [OPTIONS]", "Remove unused images", _images, (*_COMMON, _ALL_IMAGES), most=0
    ),
    "network prune": Command(
        "network prune [OPTIONS]", "Remove all unused networks", _networks, _COMMON, most=0
    ),
    "volume prune": Command(
        "volume prune [OPTIONS]",
        "Remove unused local volumes",
        _volumes,
        (*_COMMON, _ALL_VOLUMES),
        most=0,
    ),
    "system prune": Command(
        "system prune [OPTIONS]",
        "Remove unused data",
        _system,
        (*_COMMON, _ALL_IMAGES, _TOO),
        most=0,
    ),
}
