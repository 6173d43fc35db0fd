"""Syslog: RFC 3164 (and what syslog(3) writes), RFC 5424, over UDP, TCP, TLS and Unix sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wherry.errors import InvalidArgument
from wherry.runtime.api import LogTarget
from wherry.runtime.logs.drivers.links import Address, Link, parse_address
from wherry.runtime.logs.drivers.messages import Message
from wherry.runtime.logs.drivers.values import ATTRIBUTES, check_names

if TYPE_CHECKING:
    import ssl

_SCHEMES = ("udp", "tcp", "tcp+tls", "unix", "unixgram")
_PORT = 514
_LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")
_OPTIONS = (
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
)
_FACILITIES = """
    kern user mail daemon auth syslog lpr news uucp cron authpriv ftp . . . .
    local0 local1 local2 local3 local4 local5 local6 local7
""".split()
_SEVERITIES = {1: 6, 2: 3}  # info, err
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def check(options: Mapping[str, str]) -> None:
    """See :func:`wherry.runtime.logs.drivers.check_options`."""
    check_names("syslog", options, (*_OPTIONS, *ATTRIBUTES))
    _address(options)
    facility(options.get("syslog-facility", ""))
    _formatter(options.get("syslog-format", ""))


def _address(options: Mapping[str, str]) -> Address | None:
    text = options.get("syslog-address", "")
    if not text:
        return None
    return parse_address(text, "syslog-address", _SCHEMES, port=_PORT)


def facility(text: str) -> int:
    """The number of a facility, given by name or number; ``daemon`` if there is none."""
    if not text:
        return _FACILITIES.index("daemon")
    if text in _FACILITIES and text != ".":
        return _FACILITIES.index(text)
    if text.isdigit() and int(text) < len(_FACILITIES):
        return int(text)
    raise InvalidArgument("invalid syslog facility")


class Origin:
    """Who logs: what stands before each message."""

    def __init__(self, tag: str, host: str, pid: int) -> None:
        # RFC 5424, section 6: no spaces and only printable characters in these fields.
        self.tag = "".join(c if "!" <= c <= "~" else "_" for c in tag)
        self.host = host
        self.pid = pid


Formatter = Callable[[int, int, Origin, bytes], bytes]
"""Takes priority, time in nanoseconds, origin and text."""


def _stamp(time_ns: int) -> str:
    """RFC 3164's time, local and without a year."""
    at = time.localtime(time_ns // 1_000_000_000)
    clock = time.strftime("%H:%M:%S", at)
    return f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {clock}"


def _plain(priority: int, time_ns: int, origin: Origin, text: bytes) -> bytes:
    """As syslog(3) writes it: without a host's name."""
    return f"<{priority}>{_stamp(time_ns)} {origin.tag}[{origin.pid}]: ".encode() + text


def _rfc3164(priority: int, time_ns: int, origin: Origin, text: bytes) -> bytes:
    head = f"<{priority}>{_stamp(time_ns)} {origin.host} {origin.tag}[{origin.pid}]: "
    return head.encode() + text


def _rfc5424(priority: int, moment: str, origin: Origin, text: bytes) -> bytes:
    app = origin.tag[:48] or "-"
    message_id = origin.tag[:32] or "-"
    head = f"<{priority}>1 {moment} {origin.host} {app} {origin.pid} {message_id} - "
    return head.encode() + text


def _rfc5424_seconds(priority: int, time_ns: int, origin: Origin, text: bytes) -> bytes:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 1_000_000_000))
    return _rfc5424(priority, moment, origin, text)


def _rfc5424_micro(priority: int, time_ns: int, origin: Origin, text: bytes) -> bytes:
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return _rfc5424(priority, f"{moment}.{fraction // 1000:06d}Z", origin, text)


_FORMATTERS: dict[str, Formatter] = {
    "": _plain,
    "rfc3164": _rfc3164,
    "rfc5424": _rfc5424_seconds,
    "rfc5424micro": _rfc5424_micro,
}


def _formatter(name: str) -> Formatter:
    if name not in _FORMATTERS:
        raise InvalidArgument("Invalid syslog format")
    return _FORMATTERS[name]


def open_driver(target: LogTarget) -> Syslog:
    """See :func:`wherry.runtime.logs.drivers.open_driver`."""
    options = target.options
    address = _address(options) or _local()
    tls = (lambda: _tls(options)) if address.scheme == "tcp+tls" else None
    return Syslog(target, address, Link(address, tls))


def _local() -> Address:
    """The host's own syslog, by the kind of its socket."""
    for path in _LOCAL:
        for scheme in ("unixgram", "unix"):
            link = Link(Address(scheme, path=path))
            try:
                link.connect()
            except OSError:
                continue
            link.close()
            return Address(scheme, path=path)
    raise FileNotFoundError(2, "Unix syslog delivery error: nobody listens there", _LOCAL[0])


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=options.get("syslog-tls-ca-cert") or None)
    if "syslog-tls-skip-verify" in options:  # its being there is enough, as with Docker
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = options.get("syslog-tls-cert")
    if certificate:
        context.load_cert_chain(certificate, options.get("syslog-tls-key") or None)
    return context


class Syslog:
    """Messages to one syslog service. A broken connection is made anew, once for each message."""

    def __init__(self, target: LogTarget, address: Address, link: Link) -> None:
        options = target.options
        kind = options.get("syslog-format", "")
        self._format = _formatter(kind)
        self._facility = facility(options.get("syslog-facility", "")) << 3
        self._origin = Origin(target.tag, socket.gethostname(), os.getpid())
        # RFC 5425, section 4.3.1: over TLS a message's length goes before it.
        self._counted = address.scheme == "tcp+tls" and kind.startswith("rfc5424")
        self._link = link
        link.connect()

    def log(self, message: Message) -> None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        priority = self._facility | _SEVERITIES.get(message.stream, 6)
        data = self._format(priority, message.time_ns, self._origin, message.line)
        if not data.endswith(b"\n"):
            data += b"\n"
        if self._counted:
            data = b"%d " % len(data) + data
        try:
            self._link.send(data)
        except OSError:
            self._link.send(data)

    def idle(self) -> float | None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        return None

    def close(self) -> None:
        self._link.close()
