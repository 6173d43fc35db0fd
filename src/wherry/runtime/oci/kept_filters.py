"""Compiled system call filters, kept from one command of ``wherry-runtime`` to the next.

Engines pass the same profile with nearly every container, and to compile it takes longer than most
of what a command does. A filter is a file in a directory that only root can write to, beside the
interpreter that is kept (``kept.py``). It has the profile in it, and what the compiler was that
made it: a file is used if both are the same, whatever its name.
"""

from __future__ import annotations

import marshal
import os
from contextlib import suppress

import msgspec

from wherry.model.runtime_spec import LinuxSeccomp
from wherry.runtime import seccomp
from wherry.runtime.plan.planning import Filters
from wherry.runtime.remembered import read_of_root

DIRECTORY = "/run/wherry-interpreters/filters"
_MOST = 64


class KeptFilters(Filters):
    """As :class:`Filters`; what is compiled is kept for others where this process may write it."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        super().__init__()
        self._directory = directory

    def program(self, profile: LinuxSeccomp) -> bytes:
        """The program of a profile; InvalidArgument."""
        from binascii import crc32  # not all containers have a filter

        wanted = (_compiler(), msgspec.json.encode(profile))
        path = f"{self._directory}/{crc32(wanted[1]):08x}"
        known = _read(path, wanted)
        if known is not None:
            return known
        program = super().program(profile)
        if os.geteuid() == 0:
            with suppress(OSError):  # /run cannot be written to
                self._keep(path, marshal.dumps((wanted, program)))
        return program

    def _keep(self, path: str, data: bytes) -> None:
        os.makedirs(self._directory, 0o755, exist_ok=True)
        present = os.listdir(self._directory)
        if len(present) >= _MOST:
            for name in present:
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._directory}/{name}")
        from wherry.fs.atomic import write_atomic  # most commands find what they need

        write_atomic(path, data)


def _read(path: str, wanted: object) -> bytes | None:
    data = read_of_root(path)
    if data is None:
        return None
    try:
        made_of, program = marshal.loads(data)
    except (ValueError, EOFError, TypeError):
        return None
    return program if made_of == wanted else None


def _compiler() -> tuple[tuple[str, int, int], ...]:
    """Its sources, with their times and sizes: another version compiles for itself."""
    (package,) = seccomp.__path__
    found = []
    for directory in (package, f"{package}/tables"):
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((entry.path, status.st_mtime_ns, status.st_size))
    return tuple(sorted(found))
