"""``--userns-remap``: which ids of the host those of containers are.

A user's subordinate ids are in ``/etc/subuid`` and ``/etc/subgid`` (subuid(5)): lines of a name or
number, the first id, and how many. All lines of the user are used, one after the other.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path

from wherry.errors import InvalidArgument
from wherry.model.idmap import IdRange
from wherry.model.users import UserMap

DEFAULT = "default"
DEFAULT_USER = "dockremap"
"""The name that ``default`` means to dockerd, whose set-up then serves both."""

_MOST = 340  # lines of a map (user_namespaces(7))
_IDS = 2**32 - 2


def read_user_map(text: str, directory: Path = Path("/etc")) -> UserMap | None:
    """What ``USER``, ``USER:GROUP`` (names or numbers) or ``default`` means; None for nothing.

    InvalidArgument if there is no such user or group, or it has no subordinate ids.
    """
    if not text:
        return None
    user, _, group = (DEFAULT_USER if text == DEFAULT else text).partition(":")
    names = _user_names(user)
    group_names = _group_names(group) if group else names
    return UserMap(
        uids=_ranges(directory / "subuid", names, user),
        gids=_ranges(directory / "subgid", group_names, group or user),
    )


def _user_names(text: str) -> tuple[str, ...]:
    """What lines for a user may begin with."""
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        raise InvalidArgument(
            f"--userns-remap names the user {text!r}, whom this host does not have: make one with "
            "`useradd --system`, and lines for it in /etc/subuid and /etc/subgid"
        ) from None
    return found.pw_name, str(found.pw_uid)


def _group_names(text: str) -> tuple[str, ...]:
    try:
        found = grp.getgrgid(int(text)) if text.isdecimal() else grp.getgrnam(text)
    except (KeyError, OverflowError):
        raise InvalidArgument(
            f"--userns-remap names the group {text!r}, which this host does not have"
        ) from None
    return found.gr_name, str(found.gr_gid)


def _ranges(path: Path, names: tuple[str, ...], shown: str) -> tuple[IdRange, ...]:
    found: list[IdRange] = []
    inside = 0
    for first, count in _lines(path, names):
        found.append(IdRange(inside, first, count))
        inside += count
    if not found:
        raise InvalidArgument(
            f"{path} gives {shown} no subordinate ids: add a line such as {names[0]}:165536:65536"
        )
    if len(found) > _MOST or inside > _IDS:
        raise InvalidArgument(f"{path} gives {shown} more subordinate ids than can be mapped")
    return tuple(found)


def _lines(path: Path, names: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """The first id and the number of ids of each line for one of the names."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from None
    for line in lines:
        name, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if name not in names:
            continue
        if not (first.isdecimal() and count.isdecimal()):
            raise InvalidArgument(f"{path} has a malformed line: {line.strip()!r}")
        begin, size = int(first), int(count)
        if not begin or not size or begin + size > _IDS:
            raise InvalidArgument(f"{path} has a line with ids that cannot be given: {line!r}")
        yield begin, size
