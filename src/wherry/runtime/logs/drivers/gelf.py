"""GELF, the Graylog Extended Log Format 1.1 (Graylog documentation, "GELF Payload
Specification"), over UDP with compression and chunks, or over TCP."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from wherry.errors import InvalidArgument
from wherry.runtime.api import LogTarget
from wherry.runtime.logs.drivers.links import Address, Link, parse_address
from wherry.runtime.logs.drivers.messages import Message
from wherry.runtime.logs.drivers.values import ATTRIBUTES, check_names, number
from wherry.runtime.logs.formats import rfc3339_nano

_OPTIONS = (
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
)
_COMPRESSIONS = ("gzip", "zlib", "none")
_LEVELS = {1: 6, 2: 3}  # of syslog: info, err
_CHUNK = 1420 - 12  # fits into one packet of an Ethernet; 12 bytes are the chunk's head
_MOST_CHUNKS = 128
_MAGIC = b"\x1e\x0f"


def check(options: Mapping[str, str]) -> None:
    """See :func:`wherry.runtime.logs.drivers.check_options`."""
    check_names("gelf", options, (*_OPTIONS, *ATTRIBUTES))
    address = _address(options)
    udp_only = ("gelf-compression-level", "gelf-compression-type")
    tcp_only = ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay")
    for name in tcp_only if address.scheme == "udp" else udp_only:
        if name in options:
            kind = "TCP" if address.scheme == "udp" else "UDP"
            raise InvalidArgument(f"log opt '{name}' is only for gelf over {kind}")
    compression = options.get("gelf-compression-type", "gzip")
    if compression not in _COMPRESSIONS:
        raise InvalidArgument(f'unknown value "{compression}" for log opt "gelf-compression-type"')
    if not -1 <= number(options, "gelf-compression-level", 1, -1) <= 9:
        raise InvalidArgument("log opt 'gelf-compression-level' is not between -1 and 9")
    number(options, "gelf-tcp-max-reconnect", 3)
    number(options, "gelf-tcp-reconnect-delay", 1)


def _address(options: Mapping[str, str]) -> Address:
    text = options.get("gelf-address", "")
    if not text:
        raise InvalidArgument("gelf-address is a required parameter")
    return parse_address(text, "gelf-address", ("udp", "tcp"))


def open_driver(target: LogTarget) -> Gelf:
    """See :func:`wherry.runtime.logs.drivers.open_driver`."""
    return Gelf(target, _address(target.options))


class Gelf:
    """Messages to one GELF input."""

    def __init__(self, target: LogTarget, address: Address) -> None:
        options = target.options
        self._compression = options.get("gelf-compression-type", "gzip")
        self._level = number(options, "gelf-compression-level", 1, -1)
        self._tries = number(options, "gelf-tcp-max-reconnect", 3)
        self._delay = number(options, "gelf-tcp-reconnect-delay", 1)
        self._udp = address.scheme == "udp"
        self._common = _common(target)
        self._link = Link(address)
        self._link.connect()

    def log(self, message: Message) -> None:
        """See :class:`wherry.runtime.logs.drivers.Driver`. Empty lines are left out, since the
        format has no empty messages."""
        if not message.line:
            return
        data = msgspec.json.encode(self._fields(message))
        if self._udp:
            for datagram in datagrams(self._packed(data)):
                self._link.send(datagram)
        else:
            self._send(data + b"\0")

    def _fields(self, message: Message) -> dict[str, Any]:
        return {
            "version": "1.1",
            "short_message": message.text,
            "timestamp": message.time_ns // 1_000_000 / 1000,
            "level": _LEVELS.get(message.stream, 6),
            **self._common,
        }

    def _packed(self, data: bytes) -> bytes:
        if self._compression == "none":
            return data
        import zlib

        bits = 15 if self._compression == "zlib" else 31
        packer = zlib.compressobj(self._level, zlib.DEFLATED, bits)
        return packer.compress(data) + packer.flush()

    def _send(self, data: bytes) -> None:
        """Over TCP, connecting anew as often as the options say."""
        for _ in range(self._tries):
            try:
                return self._link.send(data)
            except OSError:
                time.sleep(self._delay)
        return self._link.send(data)

    def idle(self) -> float | None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        return None

    def close(self) -> None:
        self._link.close()


def _common(target: LogTarget) -> dict[str, Any]:
    """What all messages have; attributes cannot replace the format's own."""
    own = {
        "host": socket.gethostname(),
        "_container_id": target.container_id,
        "_container_name": target.container_name,
        "_image_id": target.image_id,
        "_image_name": target.image_name,
        "_command": target.command,
        "_tag": target.tag,
        "_created": rfc3339_nano(target.created_ns),
    }
    extra = {f"_{name}": value for name, value in target.attributes.items() if name != "id"}
    return extra | own


def datagrams(data: bytes) -> list[bytes]:
    """A message as datagrams; OSError if it needs more chunks than the format knows."""
    if len(data) <= _CHUNK + 12:
        return [data]
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    if len(parts) > _MOST_CHUNKS:
        raise OSError(f"a message of {len(data)} bytes is too long for GELF")
    head = _MAGIC + os.urandom(8)
    count = len(parts)
    return [head + bytes((index, count)) + part for index, part in enumerate(parts)]
