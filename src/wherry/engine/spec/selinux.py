"""SELinux labels of containers: of their processes, and of the files that are theirs.

A label is ``user:role:type:level``. The policy says, in ``lxc_contexts``, which ones containers
have; what tells two containers apart is the level, with two categories of its own for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig

DISABLE = "disable"
SHARED_LEVEL = "s0"
_CATEGORIES = 1024
_PARTS = ("user", "role", "type", "level")
_CONTAINER = "container:"


class Contexts(msgspec.Struct, frozen=True, kw_only=True):
    """The labels that the policy has for containers, with any level."""

    process: str
    file: str


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Those of one container; empty: none."""

    process: str = ""
    mount: str = ""


def check_label(text: str) -> None:
    """InvalidArgument unless it is what ``--security-opt label=`` takes."""
    key, colon, value = text.partition(":")
    if text != DISABLE and not (colon and value and key in (*_PARTS, "filetype")):
        raise InvalidArgument(
            f"bad label option {text!r}, valid options 'disable' or 'user, role, level, type, "
            "filetype' followed by ':' and a value"
        )


def container_labels(
    contexts: Contexts | None, options: Sequence[str], host: HostConfig, container_id: str
) -> Labels:
    """The labels of a container; none where the kernel or the container goes without.

    As Docker's: a privileged container has none, nor one that sees all of the host's processes or
    memory. Whoever shares those of another container passes that one's id.
    """
    if contexts is None or DISABLE in options or host.privileged:
        return Labels()
    if not options and "host" in (host.pid_mode, host.ipc_mode):
        return Labels()
    asked = dict(text.split(":", 1) for text in options)
    level = asked.get("level") or level_of(container_id)
    return Labels(
        process=_changed(contexts.process, {**asked, "level": level}),
        mount=_changed(
            contexts.file, {"level": level, **({"type": t} if (t := asked.get("filetype")) else {})}
        ),
    )


def _changed(label: str, parts: dict[str, str]) -> str:
    """A label with some of its parts replaced; the level, which is last, may hold colons."""
    have = dict(zip(_PARTS, label.split(":", 3), strict=False))
    return ":".join(parts.get(part, have.get(part, "")) for part in _PARTS)


def with_level(label: str, level: str) -> str:
    return _changed(label, {"level": level})


def level_of(container_id: str) -> str:
    """``s0:cA,cB`` with two different categories, the same whenever the container starts: its files
    keep theirs. There are half a million pairs."""
    number = int(hashlib.sha256(container_id.encode()).hexdigest(), 16)
    first = number % _CATEGORIES
    second = number // _CATEGORIES % (_CATEGORIES - 1)
    low, high = sorted((first, second + (second >= first)))
    return f"{SHARED_LEVEL}:c{low},c{high}"


def donor(host: HostConfig) -> str:
    """The container whose label is shared, by its name or id; empty: none."""
    for mode in (host.pid_mode, host.ipc_mode):
        if mode.startswith(_CONTAINER):
            return mode.removeprefix(_CONTAINER)
    return ""
