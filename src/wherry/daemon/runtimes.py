"""Other OCI runtimes, as flags and the configuration file name them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping

import msgspec

from wherry.engine.containers.runtimes import OWN
from wherry.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class RuntimeEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of ``runtimes`` in the configuration file, with dockerd's names."""

    path: str
    args: tuple[str, ...] = msgspec.field(name="runtimeArgs", default=())


class BadRuntime(InvalidArgument):
    """A runtime's name or program is wrong."""


def runtime_commands(
    flags: Iterable[str], entries: Mapping[str, RuntimeEntry]
) -> dict[str, tuple[str, ...]]:
    """The programs with their arguments by name; BadRuntime says what is wrong."""
    found = {name: (_program(name, one.path), *one.args) for name, one in entries.items()}
    for text in flags:
        name, separator, path = text.partition("=")
        if not separator:
            raise BadRuntime(f"invalid runtime {text!r}: want NAME=PATH")
        if name in found:
            raise BadRuntime(f"runtime {name!r} was already defined")
        found[name] = (_program(name, path),)
    return found


def _program(name: str, path: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadRuntime(f"invalid name of a runtime: {name!r}")
    if name == OWN:
        raise BadRuntime(f"runtime name {OWN!r} is reserved")
    program = shutil.which(path)
    if program is None:
        raise BadRuntime(f"the program {path!r} of runtime {name!r} is not there")
    return program


def check_default(name: str, known: Iterable[str]) -> str:
    """The default runtime, if it is one that is known."""
    if name != OWN and name not in known:
        raise BadRuntime(f"the default runtime {name!r} is not configured")
    return name
