"""Progress of pulls, pushes and builds, and credentials for them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from wherry.errors import WherryError


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a long request. ``stream`` is text of a build, ``status`` of a transfer;
    ``current`` and ``total`` are bytes, 0 if unknown."""

    status: str = ""
    id: str = ""
    stream: str = ""
    current: int = 0
    total: int = 0
    aux: Mapping[str, Any] = {}


class TransferFailed(WherryError):  # named as the bases are
    """A pull, a push or a load went wrong after it had begun."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """For a registry. Either a user with a password, or a token."""

    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""
    serveraddress: str = ""


def auth_header(credentials: Credentials | None) -> dict[str, str]:
    """``X-Registry-Auth``, always sent: some engines want it even if it is empty."""
    data = msgspec.json.encode(credentials or Credentials())
    return {"X-Registry-Auth": base64.urlsafe_b64encode(data).decode()}


def read_progress(messages: Iterator[dict[str, Any]]) -> Iterator[Progress]:
    """Typed messages; TransferFailed for one that is an error."""
    for message in messages:
        if failed := error_of(message):
            raise TransferFailed(failed[0])
        yield to_progress(message)


def to_progress(message: dict[str, Any]) -> Progress:
    detail = message.get("progressDetail") or {}
    aux = message.get("aux")
    return Progress(
        status=str(message.get("status") or ""),
        id=str(message.get("id") or ""),
        stream=str(message.get("stream") or ""),
        current=int(detail.get("current") or 0),
        total=int(detail.get("total") or 0),
        aux=aux if isinstance(aux, dict) else {},
    )


def error_of(message: dict[str, Any]) -> tuple[str, int] | None:
    """Text and code of a message that is an error."""
    if "error" not in message and "errorDetail" not in message:
        return None
    detail = message.get("errorDetail") or {}
    text = detail.get("message") or message.get("error") or "the engine reports an error"
    return str(text), int(detail.get("code") or 0)
