"""Control groups below a container's own, which an exec may be put in (``exec --cgroup``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from wherry.errors import InvalidArgument


def parse_groups(asked: Sequence[str]) -> dict[str, str]:
    """Paths below the container's group, each with a leading slash, by controller; of all
    controllers by the empty name. InvalidArgument."""
    found: dict[str, str] = {}
    for text in asked:
        controllers, colon, path = text.rpartition(":")
        if not colon and len(asked) > 1:
            raise InvalidArgument(f"--cgroup {text!r} lacks the names of its controllers")
        if ".." in path.split("/"):
            raise InvalidArgument(f"bad sub cgroup path: {path} is not a sub cgroup path")
        clean = os.path.normpath("/" + path.lstrip("/"))
        for name in controllers.split(","):
            if (colon and not name) or name in found:
                raise InvalidArgument(f"--cgroup {text!r} names no controller, or one twice")
            found[name] = "" if clean == "/" else clean
    return found


def one_group(cgroup: str, asked: Sequence[str]) -> str:
    """The group of version 2, which has no controllers to tell apart."""
    groups = parse_groups(asked)
    if set(groups) - {""}:
        raise InvalidArgument("control groups of version 2 take one --cgroup, without controllers")
    return cgroup + groups.get("", "")


def group_beside(cgroup: str, asked: Sequence[str]) -> str:
    """The group of version 2 beside those of version 1."""
    return cgroup + parse_groups(asked).get("", "")


def group_files(mountpoints: Sequence[str], cgroup: str, asked: Sequence[str]) -> Iterator[str]:
    """The ``tasks`` file of each hierarchy of version 1; InvalidArgument for an unknown one."""
    groups = parse_groups(asked)
    everywhere = groups.pop("", "")
    for mountpoint in mountpoints:
        names = os.path.basename(mountpoint).split(",")
        below = {groups.pop(name) for name in names if name in groups}
        if len(below) > 1:
            raise InvalidArgument(f"--cgroup has different paths for {' and '.join(names)}")
        yield f"{mountpoint}{cgroup}{below.pop() if below else everywhere}/tasks"
    if groups:
        raise InvalidArgument(f"unknown controller {min(groups)!r} in --cgroup")
