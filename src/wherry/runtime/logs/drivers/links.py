"""Addresses of logging services, and connections to them that are made anew when they break."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, cast

from wherry.errors import InvalidArgument

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection."""
GOODBYE_TIMEOUT = 3.0
"""Seconds for the peer to read what was sent, when the connection ends."""


class Address(NamedTuple):
    """``scheme`` is udp, tcp, tcp+tls, tls, unix or unixgram; ``path`` is for the last two."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""


def parse_address(
    text: str, option: str, schemes: Collection[str], *, scheme: str = "", port: int = 0
) -> Address:
    """``SCHEME://HOST:PORT`` or ``unix://PATH``; ``scheme`` and ``port`` stand for what is left
    out, if it may be. InvalidArgument."""
    found, mark, rest = text.partition("://")
    if not mark:
        found, rest = scheme, text
    if found not in schemes:
        wanted = ", ".join(sorted(schemes))
        raise InvalidArgument(f"invalid {option} '{text}': want one of {wanted} as its scheme")
    if found.startswith("unix"):
        if not rest.startswith("/"):
            raise InvalidArgument(f"invalid {option} '{text}': the path is not absolute")
        return Address(found, path=rest)
    host, number = _split(rest)
    if not host or not (number.isdigit() or (port and not number)):
        raise InvalidArgument(f"invalid {option} '{text}': want {found}://HOST:PORT")
    chosen = int(number or port)
    if not 0 < chosen < 0x10000:
        raise InvalidArgument(f"invalid {option} '{text}': {chosen} is no port")
    return Address(found, host, chosen)


def _split(text: str) -> tuple[str, str]:
    """Host and port; an IPv6 address stands in brackets."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


class Link:
    """A connection to an address. ``stream`` sockets carry bytes, the others datagrams."""

    def __init__(
        self,
        address: Address,
        tls: Callable[[], ssl.SSLContext] | None = None,
        write_timeout: float | None = None,
    ) -> None:
        self._address = address
        self._tls = tls
        self._write_timeout = write_timeout
        self._sock: socket.socket | None = None

    @property
    def connected(self) -> bool:
        return self._sock is not None

    def connect(self) -> socket.socket:
        """The connection, which is made if there is none. OSError."""
        if self._sock is None:
            sock = self._opened()
            sock.settimeout(self._write_timeout)
            self._sock = sock
        return self._sock

    def _opened(self) -> socket.socket:
        address = self._address
        if address.path:
            kind = socket.SOCK_DGRAM if address.scheme == "unixgram" else socket.SOCK_STREAM
            return _connected(socket.socket(socket.AF_UNIX, kind), address.path)
        if address.scheme == "udp":
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, target = found[0]
            return _connected(socket.socket(family, kind, protocol), target)
        sock = socket.create_connection((address.host, address.port), CONNECT_TIMEOUT)
        if self._tls is None:
            return sock
        return self._tls().wrap_socket(sock, server_hostname=address.host)

    def send(self, data: bytes) -> None:
        """Send all of it; after an OSError the connection is closed, and the next one is new."""
        sock = self.connect()
        try:
            sock.sendall(data)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._sock is None:
            return
        sock, self._sock = self._sock, None
        with sock:
            if self._tls is not None:
                _say_goodbye(cast("ssl.SSLSocket", sock))


def _say_goodbye(sock: ssl.SSLSocket) -> None:
    """Tell the end, and wait until the peer has read to there. A server of TLS 1.3 sends tickets,
    which nobody reads: to close before them is a reset, and takes the last messages along."""
    sock.settimeout(GOODBYE_TIMEOUT)
    with contextlib.suppress(OSError):
        sock.unwrap()


def _connected(sock: socket.socket, target: object) -> socket.socket:
    sock.settimeout(CONNECT_TIMEOUT)
    try:
        sock.connect(target)  # type: ignore[arg-type]  # what getaddrinfo(3) gives
    except OSError:
        sock.close()
        raise
    return sock
