"""``--chown`` and ``--chmod`` of COPY and ADD."""

from __future__ import annotations

import re

from wherry.build.api import CopyFailed
from wherry.build.roots import read_in

_LIMIT = 4 * 1024 * 1024
_ID_LIMIT = 1 << 32
_OCTAL = re.compile(r"[0-7]{1,5}")


def parse_chmod(text: str) -> int | None:
    """Permission and set-id bits; None if nothing is asked. CopyFailed."""
    if not text:
        return None
    mode = int(text, 8) if _OCTAL.fullmatch(text) else -1
    if not 0 <= mode <= 0o7777:
        raise CopyFailed(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )
    return mode


def parse_chown(text: str, root: int) -> tuple[int, int] | None:
    """User and group id for ``user[:group]``; None if nothing is asked.

    Names are looked up in the image's own files. A number without a group is its own group, a
    name has the group of its entry in passwd(5). CopyFailed names what is not found.
    """
    if not text:
        return None
    user, colon, group = text.partition(":")
    uid = _number(user)
    primary = uid
    if uid is None:
        uid, primary = _passwd(user, root)
    if not colon or not group:
        return uid, uid if primary is None else primary
    gid = _number(group)
    return uid, _group(group, root) if gid is None else gid


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) >= _ID_LIMIT - 1:
        raise CopyFailed(f"the id {text} in --chown is out of range")
    return int(text)


def _passwd(name: str, root: int) -> tuple[int, int]:
    for fields in _lines("etc/passwd", root):
        if fields[0] == name and len(fields) > 3:
            uid, gid = _number(fields[2]), _number(fields[3])
            if uid is not None and gid is not None:
                return uid, gid
    raise CopyFailed(
        "unable to convert uid/gid chown string to host mapping: "
        f"can't find uid for user {name}: no such user: {name}"
    )


def _group(name: str, root: int) -> int:
    for fields in _lines("etc/group", root):
        if fields[0] == name and len(fields) > 2:
            gid = _number(fields[2])
            if gid is not None:
                return gid
    raise CopyFailed(
        "unable to convert uid/gid chown string to host mapping: "
        f"can't find gid for group {name}: no such group: {name}"
    )


def _lines(path: str, root: int) -> list[list[str]]:
    content = read_in(root, path, _LIMIT) or b""
    return [line.split(":") for line in content.decode(errors="replace").splitlines()]
