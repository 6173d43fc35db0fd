"""What the registry client takes and gives: settings, credentials, progress, results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from wherry.errors import Conflict
from wherry.model.digest import Digest
from wherry.model.image import Descriptor, Platform
from wherry.store.api import Image


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry may ask for; all empty: anonymous.

    ``identity_token`` is an OAuth2 refresh token (Docker's user ``<token>`` has it as password).
    ``registry_token`` is sent as the bearer token, untouched.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, ...)"  # never a secret in a log


ANONYMOUS = Credentials()


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach registries; the daemon reads it from its configuration and environment.

    ``insecure`` holds hosts (with port) and networks in CIDR form that may speak plain HTTP or
    have a certificate of an unknown authority; the loopback always may. ``mirrors`` are URLs
    asked for Docker Hub's images first. ``certs_dir`` is laid out as ``/etc/docker/certs.d``:
    ``HOST[:PORT]/*.crt`` are authorities, ``*.cert`` and ``*.key`` a client's certificate.
    ``ca_bundle`` is a file of authorities in place of the system's.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    certs_dir: str = "/etc/docker/certs.d"
    ca_bundle: str = ""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    connect_timeout: float = 10.0  # seconds
    read_timeout: float = 60.0  # seconds without a byte
    attempts: int = 5  # for what may pass: lost connections, 429, 5xx
    backoff: float = 0.5  # seconds before the second attempt; doubles
    parallel_layers: int = 3


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a layer's way in or out. ``id`` is its short digest.

    ``status`` has Docker's words (``Downloading``, ``Pull complete``), since clients show them.
    ``current`` and ``total`` are bytes; ``total`` 0: nothing is counted.
    """

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


class Progress(Protocol):
    """Takes events; several threads call it, one at a time."""

    def __call__(self, event: Status, /) -> None: ...


class Cancelled(Conflict):
    """The client went away, or the engine is stopping."""


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """``digest`` is what the tag resolved to: an index's or a manifest's."""

    image: Image
    digest: Digest
    up_to_date: bool


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry has under a name: a manifest or an index, and for which machines."""

    descriptor: Descriptor
    platforms: tuple[Platform, ...]


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size: int  # of the manifest, bytes


def serialised(progress: Callable[[Status], None]) -> Progress:
    """``progress``, called by one thread at a time."""
    lock = threading.Lock()

    def call(event: Status, /) -> None:
        with lock:
            progress(event)

    return call


def progress_line(event: Status) -> dict[str, object]:
    """The event as Docker's JSON object (Engine API, ``ImageCreate``'s stream)."""
    line: dict[str, object] = {"status": event.status}
    if event.total:
        detail = {"current": event.current, "total": event.total}
        line |= {"progressDetail": detail, "progress": _bar(event.current, event.total)}
    elif event.id:
        line["progressDetail"] = {}
    if event.id:
        line["id"] = event.id
    return line


def _bar(current: int, total: int) -> str:
    filled = min(50, current * 50 // total)
    return f"[{'=' * filled + '>':<51}] {human_size(current):>8}/{human_size(total)}"


def human_size(count: int) -> str:
    """Decimal units with four significant digits, as Docker prints sizes."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.4g}{unit}"
        value /= 1000
    raise AssertionError("unreachable")
