"""Sockets that a service manager opened and passed on (sd_listen_fds(3)).

``LISTEN_PID`` names the process they are for, ``LISTEN_FDS`` says how many there are, from
descriptor 3 on, and ``LISTEN_FDNAMES`` how the units call them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

import msgspec

from wherry.errors import InvalidArgument

_FIRST = 3
_LIMIT = 1024
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class BadActivation(InvalidArgument):
    """``fd://`` was asked for, and the service manager passed no such socket."""


class Passed(msgspec.Struct, frozen=True):
    """One descriptor and its name, empty if it has none."""

    fd: int
    name: str = ""


def passed_sockets(environ: Mapping[str, str], pid: int) -> tuple[Passed, ...]:
    """What was passed to process ``pid``; nothing if the variables are for another one."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID", "") != str(pid) or not count.isdigit() or int(count) > _LIMIT:
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * int(count)
    return tuple(Passed(_FIRST + i, names[i]) for i in range(int(count)))


def forget(environ: MutableMapping[str, str]) -> None:
    """Keep the variables from processes that this one starts."""
    for name in _VARIABLES:
        environ.pop(name, None)


def chosen(passed: tuple[Passed, ...], which: str) -> tuple[Passed, ...]:
    """Those that ``fd://WHICH`` means: all if it is empty or ``*``, else a descriptor's number or a
    name. BadActivation if there is none."""
    if which in ("", "*"):
        found = passed
    elif which.isdigit():
        found = tuple(p for p in passed if p.fd == int(which))
    else:
        found = tuple(p for p in passed if p.name == which)
    if not found:
        told = ", ".join(f"{p.fd} ({p.name})" if p.name else str(p.fd) for p in passed)
        raise BadActivation(
            f"no socket for fd://{which} was passed by a service manager"
            + (f", only {told}" if told else ": is there a .socket unit?")
        )
    return found


def adopt(passed: Passed) -> socket.socket:
    """The socket behind a passed descriptor; BadActivation if it is none that can listen."""
    try:
        os.set_inheritable(passed.fd, False)
        sock = socket.socket(fileno=passed.fd)
    except OSError as error:
        raise BadActivation(f"descriptor {passed.fd} is no socket: {error.strerror}") from None
    known = sock.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
    if not known or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise BadActivation(f"descriptor {passed.fd} is neither a Unix nor a TCP stream socket")
    return sock
