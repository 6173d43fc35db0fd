"""The one table from errors to HTTP statuses, and the form in which errors are told.

Engine API v1.51, definition ErrorResponse: an object with one field, ``message``.
"""

from __future__ import annotations

import logging

import msgspec

from wherry.api.http.body import Stalled, TooLarge
from wherry.api.http.message import Reply
from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    NotModified,
    NotSupported,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    WherryError,
)
from wherry.fs.tar.entry import BadArchive
from wherry.runtime.api import CommandNotExecutable, CommandNotFound

_STATUSES: tuple[tuple[type[WherryError], int], ...] = (
    # derived errors stand before their bases
    (TooLarge, 413),
    (Stalled, 408),
    (BadArchive, 400),  # what leads here was sent by the client
    (CommandNotFound, 400),
    (CommandNotExecutable, 400),
    (InvalidArgument, 400),
    (Unauthenticated, 401),
    (PermissionDenied, 403),
    (NotFound, 404),
    (Conflict, 409),
    (NotModified, 304),
    (ResourceExhausted, 500),
    (NotSupported, 501),
    (Unavailable, 503),
    (InternalError, 500),
)

log = logging.getLogger("wherry.api")


def status_of(error: WherryError) -> int:
    """The status of the error's base; 500 if it has none."""
    for base, status in _STATUSES:
        if isinstance(error, base):
            return status
    return 500


def message_of(error: BaseException) -> str:
    """One sentence for the client, whatever was raised."""
    if isinstance(error, WherryError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"the system refused: {place}{error.strerror}"
    return f"the engine failed unexpectedly ({type(error).__name__}); its log has the details"


def error_reply(error: Exception) -> Reply:
    """The answer for an error; what nobody foresaw is logged with its place."""
    if not isinstance(error, WherryError):
        log.error("unexpected error", exc_info=error)
        return failure(500, message_of(error))
    status = status_of(error)
    if status == 304:
        return Reply(304)
    if status == 500:
        log.warning("%s", error)
    return failure(status, str(error))


def failure(status: int, message: str) -> Reply:
    body = msgspec.json.encode({"message": message})
    return Reply(status, body + b"\n", "application/json")
