"""All that the daemon listens on: addresses, TLS, sockets of a service manager, policies."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import MutableMapping
from contextlib import ExitStack

import msgspec

from wherry.api.policy.model import Policy
from wherry.api.policy.reading import read_policy
from wherry.daemon.activation import adopt, chosen, forget, passed_sockets
from wherry.daemon.options import BadOptions, Options
from wherry.daemon.sockets import bind, release
from wherry.daemon.tls import server_context

_BACKLOG = 512

log = logging.getLogger("wherry.daemon")


class Listener(msgspec.Struct, frozen=True):
    """A listening socket. ``policy`` is what its clients may do, None for everything."""

    name: str
    sock: socket.socket
    tls: ssl.SSLContext | None = None
    policy: Policy | None = None


class Guarded(msgspec.Struct, frozen=True):
    """A ``--socket`` option, taken apart."""

    host: str
    policy: str
    group: str = ""


def parse_guarded(text: str) -> Guarded:
    """``PATH,policy=FILE[,group=GROUP]``; PATH may be any host. BadOptions."""
    place, *pairs = text.split(",")
    values = dict(pair.partition("=")[::2] for pair in pairs)
    unknown = sorted(set(values) - {"policy", "group"})
    if unknown:
        raise BadOptions(f"the socket {place!r} has the unknown option {unknown[0]!r}")
    if not place or not values.get("policy"):
        raise BadOptions(f"the socket {text!r} has no policy: want PATH,policy=FILE")
    host = place if "://" in place else f"unix://{place}"
    return Guarded(host, values["policy"], values.get("group", ""))


def open_listeners(
    options: Options, environ: MutableMapping[str, str], stack: ExitStack
) -> tuple[Listener, ...]:
    """Listen at once, so that clients wait in the queue while the engine opens.

    The sockets are closed by ``stack``. InvalidArgument and Conflict tell what is wrong.
    """
    opening = _Opening(options, environ, stack)
    found: list[Listener] = []
    for host in options.hosts:
        found += opening.open(host, options.group, None)
    for text in options.sockets:
        guarded = parse_guarded(text)
        group = guarded.group or options.group
        found += opening.open(guarded.host, group, read_policy(guarded.policy))
    if options.metrics_addr:
        found += opening.open_metrics(options.metrics_addr)
    forget(environ)
    return tuple(found)


_METRICS = Policy(name="--metrics-addr", endpoints=("WherryMetrics",), images=("**",))


class _Opening:
    def __init__(
        self, options: Options, environ: MutableMapping[str, str], stack: ExitStack
    ) -> None:
        self._options = options
        self._stack = stack
        self._passed = passed_sockets(environ, os.getpid())
        self._tls = _tls_context(options)

    def open(self, host: str, group: str, policy: Policy | None) -> list[Listener]:
        if host.startswith("fd://"):
            return [
                self._listening(adopt(p), f"fd://{p.fd}", "", policy)
                for p in chosen(self._passed, host.removeprefix("fd://").rstrip("/"))
            ]
        secure = self._tls is not None
        sock = bind(host, group=group, insecure_tcp=_insecure(self._options), tls=secure)
        return [self._listening(sock, host, host.removeprefix("unix://"), policy)]

    def open_metrics(self, address: str) -> list[Listener]:
        """In clear text: figures are all that is served there."""
        sock = bind(f"tcp://{address}", insecure_tcp=True)
        self._stack.callback(release, sock, "")
        sock.listen(_BACKLOG)
        return [Listener(f"tcp://{address} (metrics)", sock, policy=_METRICS)]

    def _listening(
        self, sock: socket.socket, name: str, path: str, policy: Policy | None
    ) -> Listener:
        self._stack.callback(release, sock, path)
        sock.listen(_BACKLOG)
        local = sock.family == socket.AF_UNIX
        tls = None if local else self._tls
        self._check(name, local=local, tls=tls, policy=policy)
        return Listener(name, sock, tls, policy)

    def _check(
        self, name: str, *, local: bool, tls: ssl.SSLContext | None, policy: Policy | None
    ) -> None:
        power = "is root here" if policy is None else "has what its policy allows"
        if local:
            return
        if tls is None:
            if not _insecure(self._options):
                raise BadOptions(f"{name} is a TCP socket: serve it with --tlsverify")
            log.warning("%s is served without TLS: whoever can connect %s", name, power)
        elif tls.verify_mode is not ssl.CERT_REQUIRED:
            log.warning("%s asks clients for no certificate: whoever can connect %s", name, power)


def _insecure(options: Options) -> bool:
    return options.insecure_tcp or options.tls is False


def _tls_context(options: Options) -> ssl.SSLContext | None:
    if not (options.tls or options.tlsverify):
        return None
    return server_context(
        certificate=options.tlscert,
        key=options.tlskey,
        authority=options.tlscacert,
        verify=options.tlsverify,
    )
