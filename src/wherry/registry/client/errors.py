"""What can go wrong with a registry, in the words that Docker's clients know."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import msgspec
import urllib3.exceptions as u3

from wherry.errors import NotFound, NotSupported, PermissionDenied, Unauthenticated, Unavailable
from wherry.model.decoding import decoded
from wherry.model.malformed import MALFORMED

_TEXT_LIMIT = 300

_DEFAULTS = {
    400: ("UNSUPPORTED", "the registry refused the request"),
    401: ("UNAUTHORIZED", "authentication required"),
    403: ("DENIED", "requested access to the resource is denied"),
    404: ("MANIFEST_UNKNOWN", "manifest unknown"),
    405: ("UNSUPPORTED", "the operation is unsupported"),
    429: ("TOOMANYREQUESTS", "too many requests"),
}


class RegistryUnreachable(Unavailable):
    """No connection, or none that can be trusted; names the URL and the reason."""


class RegistryRefused(Unavailable):
    """The registry answered with an error that no other class fits."""


class RegistryFailed(RegistryRefused):
    """The registry has trouble of its own now; another attempt may succeed."""


class RepositoryUnknown(NotFound):
    """There is no such repository, or no right to see it: registries do not tell which."""


class ManifestUnknown(NotFound):
    """There is no such tag, digest or platform in the repository."""


class NotAnImage(NotSupported):
    """What the name stands for is something else than a container image, or too old."""


class WantsCredentials(Unauthenticated):
    """The registry asks who is there, or does not know who was named."""


class AccessDenied(PermissionDenied):
    """The registry knows who is there and says no."""


class _ErrorItem(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct):
    errors: list[_ErrorItem] = []


class Refusal(msgspec.Struct, frozen=True):
    """An error answer (distribution-spec, "Error Codes"): the status and the first error."""

    status: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code.lower().replace('_', ' ').strip()}: {self.message}"


def refusal(status: int, body: bytes) -> Refusal:
    """Read an error answer; what it does not say is filled in from the status."""
    code, message = _DEFAULTS.get(status, ("UNKNOWN", f"the registry answered with {status}"))
    try:
        items = decoded(body, _ErrorBody).errors
    except MALFORMED:
        items = []
    if items:
        code = _plain(items[0].code) or code
        message = _plain(items[0].message) or message
    return Refusal(status, code, message)


def _plain(text: str) -> str:
    """A remote's text on one line, without control characters."""
    kept = "".join(c if c.isprintable() else " " for c in text[:_TEXT_LIMIT])
    return " ".join(kept.split())


def pull_error(name: str, repository: str, refused: Refusal) -> Exception:
    """The error for a manifest or blob that cannot be had."""
    if refused.status in (401, 403):
        return RepositoryUnknown(
            f"pull access denied for {repository}, repository does not exist or may require "
            f"'docker login': {refused}"
        )
    if refused.code == "NAME_UNKNOWN":
        return RepositoryUnknown(f"repository {repository} not found: {refused}")
    if refused.status == 404:
        return ManifestUnknown(f"manifest for {name} not found: {refused}")
    return other_error(refused)


def other_error(refused: Refusal) -> Exception:
    if refused.status == 401:
        return WantsCredentials(str(refused))
    if refused.status == 403:
        return AccessDenied(str(refused))
    if refused.status == 429 or refused.status >= 500:
        return RegistryFailed(str(refused))
    return RegistryRefused(str(refused))


def unreachable(method: str, url: str, error: Exception) -> RegistryUnreachable:
    """One sentence for what urllib3 or the system says, shaped as Docker's is."""
    where = f'{method.capitalize()} "{url}"'
    return RegistryUnreachable(f"{where}: {_reason(url, error)}")


def _reason(url: str, error: Exception) -> str:
    host, port = _host_port(url)
    chain = list(causes(error))
    system = next((c for c in reversed(chain) if isinstance(c, OSError) and c.strerror), None)
    if _any(chain, u3.ProxyError):
        return f"proxyconnect tcp: {_plain(str(chain[-1]))}"
    if _any(chain, u3.NameResolutionError):
        return f"dial tcp: lookup {host}: no such host"
    if _any(chain, ssl.SSLError):
        return f"tls: {_tls_reason(chain)}"
    if _any(chain, u3.ReadTimeoutError):
        return "net/http: timeout awaiting response headers"
    if system is not None:
        return f"dial tcp {host}:{port}: connect: {str(system.strerror).lower()}"
    if _any(chain, u3.ConnectTimeoutError):
        return f"dial tcp {host}:{port}: i/o timeout"
    return _plain(str(chain[-1])) or type(chain[-1]).__name__


def _any(chain: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in chain)


def _tls_reason(chain: list[BaseException]) -> str:
    last = next(cause for cause in reversed(chain) if isinstance(cause, ssl.SSLError))
    if isinstance(last, ssl.SSLCertVerificationError):
        return f"failed to verify certificate: {last.verify_message}"
    return last.reason or str(last)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the outermost first. urllib3 keeps them in three places."""
    seen: set[int] = set()
    current: Any = error
    while isinstance(current, BaseException) and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "reason", None) or current.__cause__ or current.__context__
        if not isinstance(current, BaseException):
            nested = [a for a in error.args if isinstance(a, BaseException)]
            current = nested[0] if nested else None


def _host_port(url: str) -> tuple[str, int]:
    from urllib3.util import parse_url

    parsed = parse_url(url)
    return parsed.host or "", parsed.port or (443 if parsed.scheme == "https" else 80)
