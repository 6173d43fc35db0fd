"""What becomes of a process: part of the seam (:mod:`wherry.runtime.api`)."""

# No "from __future__ import annotations" here: msgspec needs what they stand for, and would have to
# compile them one by one.

import msgspec

from wherry.errors import WherryError


class ExitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended. ``code`` is 128+n for signal n, as Docker reports it."""

    code: int
    oom_killed: bool = False
    finished_ns: int = 0  # since the epoch


class CommandNotFound(WherryError):
    """The program does not exist in the image (exit code 127)."""


class CommandNotExecutable(WherryError):
    """The program exists and cannot be executed (exit code 126)."""
