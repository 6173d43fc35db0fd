"""From a policy's file (TOML) to its value, with every mistake told before anybody connects."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import msgspec

from wherry.api.operations import OPERATION_NAMES
from wherry.api.policy.model import Grants, Policy
from wherry.errors import InvalidArgument

_SIZE_LIMIT = 256 * 1024
_METHODS = ("*", "GET", "HEAD", "POST", "PUT", "DELETE")


class BadPolicy(InvalidArgument):
    """A policy's file cannot be read, or says what no policy can."""


def read_policy(path: str) -> Policy:
    """The policy in a file. BadPolicy names file, key and reason."""
    try:
        with open(path, "rb") as file:
            data = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise BadPolicy(f"the policy {path} cannot be read: {error.strerror}") from None
    if len(data) > _SIZE_LIMIT:
        raise BadPolicy(f"the policy {path} is larger than {_SIZE_LIMIT} bytes")
    return parse_policy(data, path)


def parse_policy(data: bytes, path: str) -> Policy:
    """``path`` is for messages. BadPolicy."""
    try:
        table: dict[str, Any] = tomllib.loads(data.decode())
        policy = msgspec.convert(table, Policy)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPolicy(f"the policy {path} is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise BadPolicy(f"the policy {path} says what is not known: {error}") from None
    if reason := _mistake(policy):
        raise BadPolicy(f"the policy {path} {reason}")
    return msgspec.structs.replace(policy, name=policy.name or os.path.basename(path))


def _mistake(policy: Policy) -> str:
    if policy.mode == "read-only":
        if policy.endpoints:
            return "is read-only and cannot list endpoints too"
        return "is read-only and cannot grant anything" if policy.grant != Grants() else ""
    if not policy.endpoints:
        return "lists no endpoints, so that nothing could be called"
    for text in policy.endpoints:
        if not _is_endpoint(text):
            return (
                f"lists the endpoint {text!r}, which is neither the name of an operation nor a"
                " method and a path"
            )
    for text in (*policy.grant.binds, *policy.grant.devices):
        if (not text.startswith("/") and text != "*") or ".." in text.split("/"):
            return f"grants the path {text!r}, which is not absolute"
    return ""


def _is_endpoint(text: str) -> bool:
    method, space, path = text.partition(" ")
    if not space:
        return text in OPERATION_NAMES
    return method in _METHODS and path.strip().startswith(("/", "*"))
