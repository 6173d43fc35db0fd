"""The server's side of TLS: its certificate, and whose certificates it takes."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from wherry.errors import InvalidArgument


class BadTls(InvalidArgument):
    """The options for TLS do not fit together, or a file cannot be used."""


def server_context(
    *, certificate: str, key: str, authority: str = "", verify: bool = False
) -> ssl.SSLContext:
    """TLS 1.2 and newer. With ``verify`` a client needs a certificate that ``authority`` signed,
    or is refused in the handshake. The arguments are paths of PEM files. BadTls."""
    if not certificate or not key:
        raise BadTls("TLS needs the engine's own certificate: give --tlscert and --tlskey")
    if verify and not authority:
        raise BadTls("--tlsverify needs --tlscacert, the authority of the clients' certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(certificate, "certificate", lambda: context.load_cert_chain(certificate, key, _refuse))
    if verify:
        _load(authority, "authority", lambda: context.load_verify_locations(authority))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _refuse() -> str:
    raise BadTls("the TLS key is locked by a pass phrase, which nobody is there to type")


def _load(path: str, what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise BadTls(f"the TLS {what} {path} cannot be used: {reason}") from None
    except OSError as error:
        raise BadTls(f"the TLS {what} {path} cannot be read: {error.strerror}") from None
