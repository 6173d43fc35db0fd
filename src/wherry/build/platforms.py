"""``--platform`` and the machine's own platform."""

from __future__ import annotations

import os
import re

from wherry.errors import InvalidArgument
from wherry.model.image import ARCHITECTURES, Platform

_MACHINES = {"x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7")}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_OS = frozenset({"linux"})
_WORD = re.compile(r"[A-Za-z0-9_.-]+")


def host_platform() -> Platform:
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(
        architecture=architecture, os="linux", variant="" if architecture == "arm64" else variant
    )


def parse_platform(text: str) -> Platform:
    """``os[/arch[/variant]]`` or an architecture alone; InvalidArgument."""
    parts = text.strip().lower().split("/")
    if len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise InvalidArgument(f'"{text}" is an invalid platform: want os/architecture/variant')
    if len(parts) == 1:
        parts = [parts[0], host_platform().architecture] if parts[0] in _OS else ["linux", *parts]
    if parts[0] not in _OS:
        raise InvalidArgument(f'"{text}": operating system is not supported')
    architecture = _ALIASES.get(parts[1], parts[1])
    if architecture not in ARCHITECTURES:
        raise InvalidArgument(
            f'"{text}": unknown operating system or architecture: invalid argument'
        )
    variant = parts[2] if len(parts) == 3 else ""
    if (architecture, variant) == ("arm64", "v8"):
        variant = ""
    return Platform(os=parts[0], architecture=architecture, variant=variant)
