"""Query parameters and bodies, decoded strictly where Docker is strict."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Optional, TypeVar

import msgspec

from wherry.api.http.message import Request
from wherry.api.settings import ApiSettings
from wherry.engine.records import Credentials
from wherry.errors import InvalidArgument
from wherry.model.decoding import learnt
from wherry.model.malformed import MALFORMED

T = TypeVar("T")
_FALSE = frozenset({"", "0", "no", "false", "none"})
_HEADER_LIMIT = 256 * 1024


def flag(request: Request, name: str, default: bool = False) -> bool:
    """Docker's reading: present and none of 0, no, false, none."""
    if name not in request.query:
        return default
    return request.value(name).strip().lower() not in _FALSE


def number(request: Request, name: str, default: int | None = None) -> int | None:
    """An integer parameter; an empty one is absent. InvalidArgument."""
    text = request.value(name).strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid value {text[:40]!r} for {name!r}: want a number") from None


def filters(request: Request) -> dict[str, tuple[str, ...]]:
    """The ``filters`` parameter: JSON maps of lists, or as old clients send it, of booleans."""
    text = request.value("filters")
    if not text:
        return {}
    try:
        decoded = msgspec.json.decode(text.encode(), type=dict[str, list[str] | dict[str, bool]])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidArgument(
            "invalid filter: want a JSON object of names with lists of values, or with objects of"
            " values that are true"
        ) from None
    return {name: _values(values) for name, values in decoded.items()}


def _values(values: list[str] | dict[str, bool]) -> tuple[str, ...]:
    if isinstance(values, dict):
        return tuple(value for value, wanted in values.items() if wanted)
    return tuple(values)


def json_parameter(request: Request, name: str, kind: type[T], default: T) -> T:
    """A query parameter that holds JSON; null is absent. InvalidArgument names it."""
    text = request.value(name)
    if not text:
        return default
    learnt(kind)
    try:
        value: T | None = msgspec.json.decode(text.encode(), type=Optional[kind])  # noqa: UP045
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"invalid JSON in the parameter {name!r}: {error}") from None
    return default if value is None else value


async def json_body(request: Request, settings: ApiSettings, *, optional: bool = False) -> Any:
    """The decoded body; an empty one is ``{}`` if ``optional``. InvalidArgument, TooLarge.

    The content type must be JSON: a web page cannot send that to another site without asking.
    """
    data = await request.body.read_all(settings.json_limit)
    if not data.strip():
        if optional:
            return {}
        raise InvalidArgument("the request has no body, but this endpoint needs a JSON object")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidArgument(
            f"unsupported Content-Type header ({kind[:80]}): must be 'application/json'"
        )
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise InvalidArgument("the body is JSON that is nested too deeply") from None
    except MALFORMED as error:
        raise InvalidArgument(f"the body is not JSON: {error}") from None


def shaped(value: Any, kind: type[T]) -> T:
    """A decoded body as a struct; InvalidArgument names the field that has the wrong type.

    Nulls mean absent, as in Go, and the case of the outermost names does not matter. Unknown
    fields are ignored.
    """
    learnt(kind)
    try:
        return msgspec.convert(without_nulls(_renamed(value, kind)), kind)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"the request body is not as the API defines it: {error}") from None


_names: dict[type[Any], frozenset[str]] = {}
"""Of a struct's fields, as they are encoded; to ask msgspec for them takes a millisecond."""


def _names_of(kind: type[Any]) -> frozenset[str]:
    if kind not in _names:
        _names[kind] = frozenset(one.encode_name for one in msgspec.structs.fields(kind))
    return _names[kind]


def _renamed(value: Any, kind: type[Any]) -> Any:
    """Names as the struct has them where a client spells them with other capitals."""
    if not isinstance(value, dict):
        return value
    names = _names_of(kind)
    if names.issuperset(value):
        return value
    lower = {name.lower(): name for name in names}
    other = {k: lower.get(k.lower(), k) for k in value if k not in names}
    return {
        other.get(k, k): v for k, v in value.items() if other.get(k, k) not in value or k in names
    }


_KEEP_NULLS = frozenset({"PortBindings", "EndpointsConfig"})
_EMPTY_FOR_NULL = frozenset({"ExposedPorts", "Volumes"})


def without_nulls(value: Any) -> Any:
    """Leave out what is null, except where a null is an entry of a map of its own."""
    if isinstance(value, dict):
        return {k: _member(k, v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _member(name: str, value: Any) -> Any:
    if isinstance(value, dict) and name in _KEEP_NULLS:
        return {k: without_nulls(v) for k, v in value.items()}
    if isinstance(value, dict) and name in _EMPTY_FOR_NULL:
        return {k: v or {} for k, v in value.items()}
    return without_nulls(value)


class _AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Engine API v1.51, section "Authentication"."""

    username: str = ""
    password: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def as_credentials(value: Any) -> Credentials:
    auth = shaped(value, _AuthConfig)
    return Credentials(
        username=auth.username,
        password=auth.password,
        identity_token=auth.identitytoken,
        registry_token=auth.registrytoken,
        server_address=auth.serveraddress,
    )


def registry_auth(request: Request) -> Credentials | None:
    """``X-Registry-Auth``; None if it is absent or empty. InvalidArgument."""
    text = request.headers.get("x-registry-auth", "")
    if not text:
        return None
    credentials = as_credentials(_base64_json(text, "X-Registry-Auth"))
    return credentials if credentials != Credentials() else None


def registry_config(request: Request) -> bytes:
    """``X-Registry-Config`` as JSON; empty if absent. InvalidArgument."""
    text = request.headers.get("x-registry-config", "")
    if not text:
        return b""
    return msgspec.json.encode(_base64_json(text, "X-Registry-Config"))


def _base64_json(text: str, header: str) -> Any:
    """Either alphabet, padded or not: clients differ."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        if len(text) > _HEADER_LIMIT:
            raise ValueError("too long")
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        value = msgspec.json.decode(data) if data else {}
    except (binascii.Error, ValueError, RecursionError):
        # the content is never repeated: it holds passwords
        raise InvalidArgument(f"invalid {header} header: want JSON in base64url") from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"invalid {header} header: want a JSON object")
    return value
