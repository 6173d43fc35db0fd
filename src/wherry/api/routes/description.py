"""``GET /openapi.json``: what this engine serves, described by itself (OpenAPI 3.1).

Made of the routes, the operations' table and the types that bodies are decoded to, so that it
cannot differ from them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.operations import OPERATIONS, Operation
from wherry.api.parameters import described, parameters
from wherry.api.versions import MAXIMUM, MINIMUM, spelled

_JSON = "application/json"
_YAML = "application/yaml"  # every JSON text is YAML 1.2
_PLACE = "#/components/schemas/"
_STATUSES = {
    "default": "Done, or what went wrong in one sentence.",
    "400": "The request is malformed, or asks for what cannot be.",
    "403": "The policy of the socket, or the state of things, forbids it.",
    "404": "There is no such thing.",
    "409": "It clashes with what there is.",
    "500": "The engine failed.",
}


class Failure(msgspec.Struct, frozen=True):
    """How errors are told."""

    message: str


@cache
def _description(version: str) -> bytes:
    bodies = _bodies()
    refs, components = msgspec.json.schema_components(
        [*bodies.values(), Failure], ref_template=_PLACE + "{name}"
    )
    schemas = dict(zip(bodies, refs, strict=False))
    document = {
        "openapi": "3.1.0",
        "info": _about(version),
        "servers": [{"url": f"/v{spelled(MAXIMUM)}"}, {"url": "/"}],
        "paths": _paths(schemas),
        "components": {"schemas": components},
    }
    return _renamed(msgspec.json.format(msgspec.json.encode(document), indent=1), schemas)


def _about(version: str) -> dict[str, str]:
    return {
        "title": "Wherry",
        "version": version,
        "summary": "A container engine that speaks Docker's API.",
        "description": f"Versions {spelled(MINIMUM)} to {spelled(MAXIMUM)} of the Engine API are"
        " served, each below its own prefix; without a prefix it is the newest.",
    }


def _bodies() -> dict[str, type[Any]]:
    """The types that bodies are decoded to, by operation."""
    from wherry.api.routes import all_routes

    return {route.operation: route.body for route in all_routes() if route.body is not None}


def _paths(schemas: dict[str, Any]) -> dict[str, dict[str, Any]]:
    queries = parameters()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS.all:
        told = _operation(operation, queries.get(operation.name, {}), schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = told
    return paths


def _operation(
    operation: Operation, query: dict[str, str], schemas: dict[str, Any]
) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.group],
        "parameters": in_path + [described(name, kind) for name, kind in query.items()],
        "responses": {status: _response(status, text) for status, text in _STATUSES.items()},
    }
    if operation.name in schemas:
        told["requestBody"] = {"content": {_JSON: {"schema": schemas[operation.name]}}}
    return told


def _response(status: str, text: str) -> dict[str, Any]:
    if status == "default":
        return {"description": text}
    return {"description": text, "content": {_JSON: {"schema": {"$ref": f"{_PLACE}Failure"}}}}


def _renamed(text: bytes, schemas: dict[str, Any]) -> bytes:
    """Bodies are called after their operations, not after what the code calls their types."""
    for operation, ref in schemas.items():
        name = str(ref.get("$ref", "")).removeprefix(_PLACE)
        if name and not name.isalpha():
            text = text.replace(f'"{_PLACE}{name}"'.encode(), f'"{_PLACE}{operation}Body"'.encode())
            text = text.replace(f'"{name}": {{'.encode(), f'"{operation}Body": {{'.encode())
    return text


async def as_json(context: Context, request: Request, _: str) -> Reply:
    return Reply(200, _description(context.settings.version), _JSON, context.headers)


async def as_yaml(context: Context, request: Request, _: str) -> Reply:
    return Reply(200, _description(context.settings.version), _YAML, context.headers)


ROUTES = (
    Route("GET", "/openapi.json", as_json),
    Route("GET", "/openapi.yaml", as_yaml),
)
