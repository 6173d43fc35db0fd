"""Fluentd's forward protocol, version 1 (fluent/fluentd wiki), in message mode."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from wherry.errors import InvalidArgument
from wherry.runtime.api import LogTarget
from wherry.runtime.logs.drivers.links import Address, Link, parse_address
from wherry.runtime.logs.drivers.messages import Message
from wherry.runtime.logs.drivers.values import (
    ATTRIBUTES,
    boolean,
    check_names,
    duration,
    number,
    size,
)

if TYPE_CHECKING:
    import ssl

_DEFAULT = "tcp://127.0.0.1:24224"
_PORT = 24224
_SCHEMES = ("tcp", "tls", "unix")
_OPTIONS = (
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
)
_SOURCES = {1: "stdout", 2: "stderr"}
_FOREVER = 2**31 - 1
_LONGEST_WAIT = 60.0
_EVENT_TIME = struct.Struct(">II")

_encode = msgspec.msgpack.Encoder().encode


def check(options: Mapping[str, str]) -> None:
    """See :func:`wherry.runtime.logs.drivers.check_options`."""
    check_names("fluentd", options, (*_OPTIONS, *ATTRIBUTES))
    _Settings(options)
    interval = duration(options, "fluentd-async-reconnect-interval", 0.0)
    if interval and not 0.1 <= interval <= 10:
        raise InvalidArgument(
            "invalid value for fluentd-async-reconnect-interval: want from 100ms to 10s"
        )


class _Settings:
    """The options as values. Times in seconds, the buffer in bytes."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.address = _address(options.get("fluentd-address", ""))
        if "fluentd-async" in options and "fluentd-async-connect" in options:
            raise InvalidArgument(
                "conflicting options: cannot specify both 'fluentd-async' and "
                "'fluentd-async-connect'"
            )
        old = boolean(options, "fluentd-async-connect")
        self.asynchronous = boolean(options, "fluentd-async", old)
        self.buffer = size(options, "fluentd-buffer-limit", 1 << 20)
        self.tries = number(options, "fluentd-max-retries", _FOREVER)
        self.wait = duration(options, "fluentd-retry-wait", 1.0)
        self.interval = duration(options, "fluentd-async-reconnect-interval", 0.0)
        self.acknowledged = boolean(options, "fluentd-request-ack")
        self.precise = boolean(options, "fluentd-sub-second-precision")
        self.read_timeout = duration(options, "fluentd-read-timeout", 0.0) or None
        self.write_timeout = duration(options, "fluentd-write-timeout", 0.0) or None


def _address(text: str) -> Address:
    return parse_address(text or _DEFAULT, "fluentd-address", _SCHEMES, scheme="tcp", port=_PORT)


def open_driver(target: LogTarget) -> Fluentd:
    """See :func:`wherry.runtime.logs.drivers.open_driver`."""
    return Fluentd(target)


def _tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


class Fluentd:
    """Events to one fluentd. Asynchronously they are kept, up to the buffer's limit, while it
    cannot be reached; otherwise each is tried until it is delivered."""

    def __init__(self, target: LogTarget) -> None:
        self._settings = settings = _Settings(target.options)
        tls = _tls if settings.address.scheme == "tls" else None
        self._link = Link(settings.address, tls, settings.write_timeout)
        self._tag = target.tag
        self._record = {
            **target.attributes,
            "container_id": target.container_id,
            "container_name": f"/{target.container_name}",
        }
        self._kept: deque[tuple[bytes, str]] = deque()
        self._kept_bytes = 0
        self._next_try = 0.0
        if not settings.asynchronous:
            self._link.connect()

    def log(self, message: Message) -> None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        event = self._event(message)
        if self._settings.asynchronous:
            self._keep(event)
            self._send_kept()
        else:
            self._insist(event)

    def _event(self, message: Message) -> tuple[bytes, str]:
        """The event, and the name that its receiver answers with."""
        chunk = os.urandom(16).hex() if self._settings.acknowledged else ""
        options = [{"chunk": chunk}] if chunk else []
        event = [self._tag, self._time(message.time_ns), self._fields(message), *options]
        return _encode(event), chunk

    def _time(self, time_ns: int) -> object:
        seconds, fraction = divmod(time_ns, 1_000_000_000)
        if not self._settings.precise:
            return seconds
        return msgspec.msgpack.Ext(0, _EVENT_TIME.pack(seconds & 0xFFFFFFFF, fraction))

    def _fields(self, message: Message) -> dict[str, Any]:
        fields = {
            **self._record,
            "source": _SOURCES.get(message.stream, "stdout"),
            "log": message.text,
        }
        piece = message.piece
        if piece is not None:
            fields["partial_message"] = "true"
            fields["partial_id"] = piece.id
            fields["partial_ordinal"] = str(piece.ordinal)
            fields["partial_last"] = "true" if piece.last else "false"
        return fields

    def _insist(self, event: tuple[bytes, str]) -> None:
        wait = self._settings.wait
        for _ in range(self._settings.tries):
            try:
                return self._send(event)
            except OSError:
                time.sleep(wait)
                wait = min(wait * 1.5, _LONGEST_WAIT)
        return self._send(event)

    def _keep(self, event: tuple[bytes, str]) -> None:
        if self._kept_bytes + len(event[0]) > self._settings.buffer:
            raise OSError("fluentd's buffer is full")
        self._kept.append(event)
        self._kept_bytes += len(event[0])

    def _send_kept(self) -> None:
        """Send what is kept, if it is time to try."""
        now = time.monotonic()
        if now < self._next_try:
            return
        try:
            while self._kept:
                self._send(self._kept[0])
                self._kept_bytes -= len(self._kept.popleft()[0])
        except OSError:
            self._next_try = now + (self._settings.interval or self._settings.wait)

    def _send(self, event: tuple[bytes, str]) -> None:
        data, chunk = event
        self._link.send(data)
        if chunk:
            self._await_answer(chunk)

    def _await_answer(self, chunk: str) -> None:
        sock = self._link.connect()
        try:
            sock.settimeout(self._settings.read_timeout)
            _expect(sock, chunk)
            sock.settimeout(self._settings.write_timeout)
        except OSError:
            self._link.close()
            raise

    def idle(self) -> float | None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        if not self._kept:
            return None
        self._send_kept()
        return max(0.05, self._next_try - time.monotonic()) if self._kept else None

    def close(self) -> None:
        """Try to deliver what is kept; who waits for this process limits the time."""
        while wait := self.idle():
            time.sleep(wait)
        self._link.close()


def _expect(sock: socket.socket, chunk: str) -> None:
    """Read the receiver's answer; OSError if it is another one."""
    wanted = _encode({"ack": chunk})
    found = b""
    while len(found) < len(wanted):
        part = sock.recv(len(wanted) - len(found))
        if not part:
            raise ConnectionResetError("fluentd closed the connection")
        found += part
    if found != wanted:
        raise OSError("fluentd's answer was not understood")
