"""The sockets that the daemon listens on."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat

from wherry.errors import Conflict, InvalidArgument

_PORT, _TLS_PORT = 2375, 2376


class BadHost(InvalidArgument):
    """A ``--host`` that cannot be listened on."""


def bind(
    host: str, *, group: str = "", insecure_tcp: bool = False, tls: bool = False
) -> socket.socket:
    """A bound socket, not listening yet. TCP needs ``tls``, which the caller then speaks, or
    ``insecure_tcp``. BadHost; Conflict if another engine answers there."""
    scheme, separator, rest = host.partition("://")
    if not separator:
        raise BadHost(f"the host {host!r} has no scheme: want unix://PATH or tcp://ADDRESS:PORT")
    if scheme == "unix":
        return _bind_unix(rest, _group_id(group))
    if scheme == "tcp":
        if not tls and not insecure_tcp:
            raise BadHost(
                f"{host} without TLS would give root on this machine to everybody who can reach"
                " it: use --tlsverify, ssh, or --insecure-tcp if all of them are trusted"
            )
        return _bind_tcp(rest, _TLS_PORT if tls else _PORT)
    raise BadHost(f"the host {host!r} has the unknown scheme {scheme!r}: want unix, tcp or fd")


def _group_id(group: str) -> int:
    """-1 leaves the group as it is."""
    if not group:
        return -1
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise BadHost(f"the group {group!r} for the socket does not exist") from None


def _bind_unix(path: str, gid: int) -> socket.socket:
    if not path.startswith("/"):
        raise BadHost(f"the path of a Unix socket must be absolute, {path!r} is not")
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _remove_stale(path)
        return _bound(path, gid)
    except OSError as error:
        raise BadHost(f"cannot listen on unix://{path}: {error.strerror or error}") from None


def _bound(path: str, gid: int) -> socket.socket:
    """Nobody but the owner can connect before group and mode are set."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(path)
        os.chown(path, -1, gid)
        os.chmod(path, 0o660)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on; Conflict if somebody does."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BadHost(f"cannot listen on unix://{path}: a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        code = probe.connect_ex(path)
    if code in (0, errno.EAGAIN):
        raise Conflict(f"another engine listens on unix://{path}: stop it or use another --host")
    os.unlink(path)


def _bind_tcp(address: str, default_port: int) -> socket.socket:
    name, port = _split(address, default_port)
    try:
        found = socket.getaddrinfo(name or "127.0.0.1", port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BadHost(f"the address tcp://{address} cannot be resolved: {error.strerror}") from None
    family, _, _, _, where = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
    except OSError as error:
        sock.close()
        raise BadHost(f"cannot listen on tcp://{address}: {error.strerror or error}") from None
    return sock


def _split(address: str, default_port: int) -> tuple[str, int]:
    name, colon, port = address.rstrip("/").rpartition(":")
    if not colon or port.endswith("]"):
        return address.rstrip("/").strip("[]"), default_port
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise BadHost(f"the port in tcp://{address} is not a number from 0 to 65535")
    return name.strip("[]"), int(port)


def release(sock: socket.socket, path: str) -> None:
    """Close a listening socket and remove its file; an empty ``path`` is somebody else's file."""
    if sock.family == socket.AF_UNIX and path:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    sock.close()
