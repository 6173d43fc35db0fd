"""Who a container's process is: looked up in the container's own files (BEHAVIOURS 17)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from wherry.errors import InvalidArgument
from wherry.fs.root import Root

_MAX_ID = 2**31 - 1
_FILE_LIMIT = 8 * 1024 * 1024

# A file that is not there, or that leads nowhere, has no entries.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class ResolvedUser(msgspec.Struct, frozen=True, kw_only=True):
    """``additional_gids`` begins with ``gid``, so that dropping the supplementary groups of a
    process never widens what it may do. ``home`` is ``/`` for a user without an entry."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = (0,)
    home: str = "/"
    name: str = ""


class _PasswdEntry(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _GroupEntry(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(root_fd: int, user_text: str, group_add: Iterable[str] = ()) -> ResolvedUser:
    """Look up ``user``, ``user:group``, ``uid`` or ``uid:gid`` in the tree ``root_fd``.

    Empty is root. Numbers need no entry. ``group_add`` are further groups by name or number.
    InvalidArgument if a name is unknown or a number out of range.
    """
    with Root(os.dup(root_fd)) as root:
        user_arg, _, group_arg = user_text.partition(":")
        passwd = _find_user(_lines(root, "/etc/passwd"), user_arg or "0")
        uid = passwd.uid if passwd else _unlisted_user(user_arg)
        gid = passwd.gid if passwd else 0
        groups = tuple(_group_entries(_lines(root, "/etc/group")))
    further: list[int] = []
    if group_arg:
        gid = _group_id(groups, group_arg)
    elif passwd:
        further = [group.gid for group in groups if passwd.name in group.members]
    further += [_group_id(groups, name) for name in group_add]
    return ResolvedUser(
        uid=uid,
        gid=gid,
        additional_gids=tuple(dict.fromkeys((gid, *further))),
        home=passwd.home if passwd and passwd.home else "/",
        name=passwd.name if passwd else "",
    )


def _lines(root: Root, path: str) -> list[str]:
    try:
        data = root.read(path, _FILE_LIMIT)
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise InvalidArgument(f"cannot read {path} of the image: {error.strerror}") from error
    return data.decode("utf-8", "surrogateescape").splitlines()


def _find_user(lines: Iterable[str], wanted: str) -> _PasswdEntry | None:
    """The first entry with a name or, if ``wanted`` is a number, with that uid."""
    number = _number(wanted)
    for entry in _passwd_entries(lines):
        if (entry.uid == number) if number is not None else (entry.name == wanted):
            return entry
    return None


def _unlisted_user(text: str) -> int:
    if not text:
        return 0
    number = _number(text)
    if number is None:
        raise InvalidArgument(f"unable to find user {text}: no matching entries in passwd file")
    return number


def _group_id(groups: Iterable[_GroupEntry], text: str) -> int:
    number = _number(text)
    if number is not None:
        return number
    for group in groups:
        if group.name == text:
            return group.gid
    raise InvalidArgument(f"unable to find group {text}: no matching entries in group file")


def _number(text: str) -> int | None:
    """A uid or gid; None if the text is a name. InvalidArgument if it is out of range."""
    if not (text.isascii() and text.lstrip("-").isdigit()):
        return None
    if text.startswith("-") or len(text) > 10 or int(text) > _MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{_MAX_ID}")
    return int(text)


def _passwd_entries(lines: Iterable[str]) -> Iterator[_PasswdEntry]:
    """``name:password:uid:gid:comment:home:shell`` (passwd(5)); other lines are skipped."""
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) >= 4 and _is_id(fields[2]) and _is_id(fields[3]):
            home = fields[5] if len(fields) > 5 else ""
            yield _PasswdEntry(fields[0], int(fields[2]), int(fields[3]), home)


def _group_entries(lines: Iterable[str]) -> Iterator[_GroupEntry]:
    """``name:password:gid:members`` (group(5)); other lines are skipped."""
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) >= 3 and _is_id(fields[2]):
            members = fields[3].split(",") if len(fields) > 3 else ()
            yield _GroupEntry(fields[0], int(fields[2]), tuple(members))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID
