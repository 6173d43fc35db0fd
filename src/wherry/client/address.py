"""Where an engine listens: ``unix:///path``, ``tcp://host:port`` or a bare absolute path."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from wherry.errors import InvalidArgument, NotSupported, PermissionDenied, Unavailable

DEFAULT_HOST = "unix:///run/wherry/wherry.sock"
_PORT, _TLS_PORT = 2375, 2376
_CONNECT_TIMEOUT = 10.0  # seconds


def host_from(environ: Mapping[str, str]) -> str:
    """The host that ``WHERRY_HOST``, else ``DOCKER_HOST`` names, else :data:`DEFAULT_HOST`.

    An empty variable counts as unset.
    """
    return environ.get("WHERRY_HOST") or environ.get("DOCKER_HOST") or DEFAULT_HOST


class Address:
    """A parsed host. ``path`` is set for unix sockets, ``name`` and ``port`` for TCP."""

    __slots__ = ("name", "path", "port", "text")

    def __init__(self, text: str, *, path: str = "", name: str = "", port: int = 0) -> None:
        self.text = text
        self.path = path
        self.name = name
        self.port = port

    @property
    def header(self) -> str:
        """What the request's ``Host`` header says (RFC 9112, section 3.2)."""
        if self.path:
            return "wherry"
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    def connect(self) -> socket.socket:
        """A connected blocking socket; Unavailable or PermissionDenied says what to look at."""
        try:
            return self._connect()
        except PermissionError as error:
            raise PermissionDenied(
                f"may not connect to the engine at {self.text}: use root, or the socket's group"
            ) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unavailable(
                f"cannot connect to the engine at {self.text}: {reason}; is it running?"
            ) from error

    def _connect(self) -> socket.socket:
        if not self.path:
            made = socket.create_connection((self.name, self.port), _CONNECT_TIMEOUT)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(None)
            return made
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(self.path)
        except OSError:
            made.close()
            raise
        return made


def parse_address(text: str, *, secure: bool = False) -> Address:
    """Parse a host; InvalidArgument if it is not one, NotSupported for ``ssh://`` and the like."""
    scheme, found, rest = text.partition("://")
    if not found and text.startswith("/"):
        scheme, rest = "unix", text
    if scheme == "unix" and rest.startswith("/"):
        return Address(f"unix://{rest}", path=rest)
    if scheme in ("tcp", "http"):
        return _parse_tcp(text, rest.rstrip("/"), _TLS_PORT if secure else _PORT)
    if scheme in ("ssh", "npipe", "https", "fd"):
        raise NotSupported(f"{scheme}:// is not supported for {text!r}: use unix:// or tcp://")
    raise InvalidArgument(f"invalid host {text!r}: want unix:///path or tcp://host:port")


def _parse_tcp(text: str, rest: str, default_port: int) -> Address:
    name, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        name, port = rest, str(default_port)
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise InvalidArgument(f"invalid host {text!r}: {port!r} is not a port")
    return Address(text, name=name.strip("[]") or "127.0.0.1", port=int(port))
