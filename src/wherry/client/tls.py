"""TLS to an engine on TCP, with a certificate of the client's own.

Everything above works on a plain socket: it polls it, peeks, ends one half. So a thread stands
between such a socket and the encrypted connection, and passes on bytes and both ends apart. Loaded
only where TLS is used.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from wherry.errors import InvalidArgument, Unavailable

_PIECE = 65536
_HELD = 4 * _PIECE  # bytes on their way, in each direction


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files, empty for none. Without ``verify`` any engine is believed."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """InvalidArgument if a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            elif self.authority:
                context.load_verify_locations(self.authority)
            else:
                context.load_default_certs()
            if self.certificate or self.key:
                context.load_cert_chain(self.certificate or self.key, self.key or None)
        except OSError as error:  # SSLError is one
            reason = getattr(error, "reason", None) or error.strerror or str(error)
            raise InvalidArgument(f"the TLS files cannot be used: {reason}") from None
        return context


def files_in(directory: str, *, verify: bool) -> TlsFiles:
    """Docker's names in a directory: ``ca.pem``, ``cert.pem``, ``key.pem``; those that exist."""

    def found(name: str) -> str:
        path = os.path.join(directory, name)
        return path if os.path.exists(path) else ""

    return TlsFiles(found("ca.pem"), found("cert.pem"), found("key.pem"), verify)


def files_from(environ: Mapping[str, str]) -> TlsFiles | None:
    """What ``DOCKER_TLS_VERIFY``, ``DOCKER_TLS`` and ``DOCKER_CERT_PATH`` ask for; None without the
    first two."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not (verify or environ.get("DOCKER_TLS")):
        return None
    home = os.path.join(environ.get("HOME") or "/", ".docker")
    return files_in(environ.get("DOCKER_CERT_PATH") or home, verify=verify)


def secured(link: socket.socket, context: ssl.SSLContext, name: str) -> socket.socket:
    """A plain socket that stands for ``link``, which is owned from then on.

    The handshake is made at once: Unavailable if the other side is not believed, or refuses. With
    TLS 1.3 a refusal of the client's own certificate is only read with the first answer.
    """
    try:
        tunnel = _Tunnel(link, context, name)
        tunnel.shake_hands()
    except (OSError, ValueError) as error:
        link.close()
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", None)
        raise Unavailable(
            f"no TLS with the engine at {name}: {str(reason or error).replace('_', ' ').lower()}"
        ) from None
    ours, theirs = socket.socketpair()
    threading.Thread(target=tunnel.run, args=(theirs,), daemon=True, name="tls").start()
    return ours


class _Tunnel:
    def __init__(self, link: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._link = link
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._to_link = bytearray()
        self._to_plain = bytearray()
        self._input_over = self._output_over = False  # of the plain side; of the engine

    def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._link.sendall(self._outgoing.read())
                data = self._link.recv(_PIECE)
                if not data:
                    raise ConnectionResetError("the connection was closed") from None
                self._incoming.write(data)
            else:
                self._link.sendall(self._outgoing.read())
                return

    def run(self, plain: socket.socket) -> None:
        """Until both sides have ended, or one is gone."""
        with self._link, plain:
            self._link.setblocking(False)
            plain.setblocking(False)
            try:
                self._decrypt()
                while not (self._output_over and not self._to_plain):
                    self._turn(plain)
                plain.shutdown(socket.SHUT_WR)
                while not self._input_over or self._to_link:
                    self._turn(plain)
            except (OSError, ssl.SSLError):
                return  # the plain side reads an end, as from any connection that breaks

    def _turn(self, plain: socket.socket) -> None:
        poll = select.poll()
        poll.register(
            self._link, self._wanted(len(self._to_plain), self._output_over, self._to_link)
        )
        poll.register(plain, self._wanted(len(self._to_link), self._input_over, self._to_plain))
        events = dict(poll.poll())
        if events.get(plain.fileno(), 0) & (select.POLLERR | select.POLLNVAL):
            raise ConnectionResetError
        if self._input_over and events.get(plain.fileno(), 0) & select.POLLHUP:
            raise ConnectionResetError  # nobody reads any more
        if events.get(self._link.fileno(), 0) & ~select.POLLOUT and not self._output_over:
            self._receive()
        if events.get(plain.fileno(), 0) & (select.POLLIN | select.POLLHUP):
            self._send(plain)
        self._flush(self._link, self._to_link)
        self._flush(plain, self._to_plain)

    @staticmethod
    def _wanted(held: int, over: bool, waiting: bytearray) -> int:
        reading = select.POLLIN if not over and held < _HELD else 0
        return reading | (select.POLLOUT if waiting else 0)

    def _receive(self) -> None:
        data = self._link.recv(_PIECE)
        if not data:
            self._output_over = True
            return
        self._incoming.write(data)
        self._decrypt()

    def _decrypt(self) -> None:
        while not self._output_over:
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            self._to_plain += data
            self._output_over = not data
        self._to_link += self._outgoing.read()

    def _send(self, plain: socket.socket) -> None:
        if self._input_over or len(self._to_link) >= _HELD:
            return
        data = plain.recv(_PIECE)
        if data:
            self._tls.write(data)
        else:
            self._input_over = True
            self._end_input()
        self._to_link += self._outgoing.read()

    def _end_input(self) -> None:
        """Tell by an alert that nothing more comes; the engine's half goes on."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # its own alert is not there yet

    @staticmethod
    def _flush(target: socket.socket, waiting: bytearray) -> None:
        if not waiting:
            return
        try:
            sent = target.send(waiting, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        del waiting[:sent]
