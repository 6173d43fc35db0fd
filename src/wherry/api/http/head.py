"""The head of a request: request line and header fields (RFC 9112, sections 3 and 5).

Strict where leniency is known to be dangerous: no folded lines, no space before a colon, one
length and one way to state it.
"""

from __future__ import annotations

import re

import msgspec

from wherry.errors import InvalidArgument

HTTP_10 = (1, 0)
HTTP_11 = (1, 1)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(r"[0-9]{1,18}")
_VERSIONS = {"HTTP/1.0": HTTP_10, "HTTP/1.1": HTTP_11}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FIELDS_LIMIT = 200


class BadRequest(InvalidArgument):
    """What arrived is not HTTP as the standard has it."""


class Head(msgspec.Struct, frozen=True):
    """``target`` is path and query as sent; header names are lower case, values are stripped."""

    method: str
    target: str
    version: tuple[int, int]
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """Whether the client means to use the connection again."""
        options = self.headers.get("connection", "").lower()
        if self.version == HTTP_10:
            return "keep-alive" in options
        return "close" not in options

    @property
    def chunked(self) -> bool:
        return "transfer-encoding" in self.headers

    @property
    def length(self) -> int:
        """Bytes of the body if it is not chunked."""
        return int(self.headers.get("content-length", "0"))


def parse_head(data: bytes) -> Head:
    """Parse what comes before the empty line, without it; BadRequest if it is malformed."""
    first, *rest = data.decode("latin-1").split("\r\n")
    method, target, version = _request_line(first)
    if len(rest) > _FIELDS_LIMIT:
        raise BadRequest(f"the request has more than {_FIELDS_LIMIT} header fields")
    headers: dict[str, str] = {}
    for line in rest:
        _add_field(headers, line)
    _check_framing(headers)
    return Head(method, target, version, headers)


def _request_line(line: str) -> tuple[str, str, tuple[int, int]]:
    parts = line.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]):
        raise BadRequest(f"malformed HTTP request line {line[:80]!r}")
    method, target, protocol = parts
    if _CONTROL.search(target) or "\t" in target:
        raise BadRequest(f"malformed HTTP request line {line[:80]!r}")
    version = _VERSIONS.get(protocol)
    if version is None:
        raise BadRequest(f"the protocol {protocol[:20]!r} is neither HTTP/1.0 nor HTTP/1.1")
    return method, _origin_form(target), version


def _origin_form(target: str) -> str:
    """The path and query of an absolute target (RFC 9112, section 3.2.2)."""
    if target.startswith("/"):
        return target
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        return "/" + rest.partition("/")[2]
    raise BadRequest(f"the request target {target[:80]!r} is not a path")


def _add_field(headers: dict[str, str], line: str) -> None:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
        raise BadRequest(f"malformed HTTP header line {line[:80]!r}")
    name = name.lower()
    value = value.strip(" \t")
    if name in headers:
        if name == "content-length" and headers[name] != value:
            raise BadRequest("the request has two different Content-Length headers")
        if name != "content-length":
            value = f"{headers[name]}, {value}"
    headers[name] = value


def _check_framing(headers: dict[str, str]) -> None:
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if length is not None and not _LENGTH.fullmatch(length):
        raise BadRequest(f"the Content-Length {length[:40]!r} is not a number of bytes")
    if coding is None:
        return
    if length is not None:
        raise BadRequest("the request has both Content-Length and Transfer-Encoding")
    if coding.lower() != "chunked":
        raise BadRequest(f"the transfer encoding {coding[:40]!r} is not supported, only chunked is")
