"""What a process that sets itself up and its parent say to each other, one packet each.

See :mod:`wherry.runtime.launch.spawn` for who says what when.
"""

# No "from __future__ import annotations" here: msgspec needs what they stand for, and would have to
# compile them one by one.

import msgspec

from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    NotSupported,
    PermissionDenied,
    ResourceExhausted,
    WherryError,
)
from wherry.runtime.outcome import CommandNotExecutable, CommandNotFound


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Nothing was started, and nothing is left. ``kind`` is a key of ``KINDS``."""

    kind: str
    message: str


class Console(msgspec.Struct, frozen=True, tag="console"):
    """Init to monitor, with one descriptor: the terminal's master side."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Init to monitor: all is set up; end of file follows when the program is executed."""

    created_mountpoints: tuple[str, ...]


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """Init to monitor: the hooks of the host's side may run now; it goes on after a Go."""


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Monitor to init: ``step`` is done. To one that was held ready the standard streams come with
    it, unless it opens a terminal."""

    step: str


FromInit = Console | Ready | Failed | Waiting

from_init = msgspec.json.Decoder(FromInit)
to_init = msgspec.json.Decoder(Go)

KINDS: dict[str, type[WherryError]] = {
    "command-not-found": CommandNotFound,
    "command-not-executable": CommandNotExecutable,
    "invalid": InvalidArgument,
    "not-found": NotFound,
    "conflict": Conflict,
    "permission": PermissionDenied,
    "not-supported": NotSupported,
    "exhausted": ResourceExhausted,
    "internal": InternalError,
}


def failure(error: BaseException) -> Failed:
    """The message that tells of an error."""
    for kind, base in KINDS.items():
        if isinstance(error, base):
            return Failed(kind, str(error))
    return Failed("internal", str(error) or type(error).__name__)


def to_error(kind: str, message: str) -> WherryError:
    """The error that a message tells of."""
    return KINDS.get(kind, InternalError)(message)
