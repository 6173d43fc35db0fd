"""The tag of a log's messages: ``--log-opt tag=TEMPLATE``, by default the short id.

Of Go's templates what Docker's documentation of tags names: fields, labels and variables by
``index``, and functions that change a text, chained by ``|``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from functools import partial

from wherry.engine.records import Container
from wherry.errors import InvalidArgument

_DEFAULT = "{{.ID}}"
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_INDEX = re.compile(r'\(?index\s+\.ContainerLabels\s+(?:"([^"]*)"|`([^`]*)`)\)?')

Value = Callable[[Container], str]


def _image_id(record: Container) -> str:
    return record.image_id.partition(":")[2]


FIELDS: Mapping[str, Value] = {
    ".ID": lambda record: record.id[:12],
    ".FullID": lambda record: record.id,
    ".ContainerID": lambda record: record.id,
    ".Name": lambda record: record.name,
    ".FullName": lambda record: f"/{record.name}",
    ".ContainerName": lambda record: f"/{record.name}",
    ".ImageID": lambda record: _image_id(record)[:12],
    ".ImageFullID": lambda record: record.image_id,
    ".ContainerImageID": lambda record: record.image_id,
    ".ImageName": lambda record: record.image_name,
    ".ContainerImageName": lambda record: record.image_name,
    ".Command": lambda record: " ".join((record.path, *record.args)),
    ".ContainerEntrypoint": lambda record: record.path,
    ".Hostname": lambda record: socket.gethostname(),
    ".DaemonName": lambda record: "wherry",
}
_FUNCTIONS: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
}


def check_tag(template: str) -> None:
    """InvalidArgument for a template with something that is not known."""
    _values(template or _DEFAULT)


def tag_of(record: Container) -> str:
    """The tag of a container's messages."""
    template = (record.host.log_config.config or {}).get("tag") or _DEFAULT
    return "".join(value(record) for value in _values(template))


def _values(template: str) -> list[Value]:
    """What the template consists of: texts and actions in turn."""
    parts = _ACTION.split(template)
    if any("{{" in text or "}}" in text for text in parts[::2]):
        raise InvalidArgument(f"invalid log tag '{template}': an action is not closed")
    return [_action(part, template) if n % 2 else _text(part) for n, part in enumerate(parts)]


def _text(text: str) -> Value:
    return lambda record: text


def _action(action: str, template: str) -> Value:
    first, *functions = (part.strip() for part in action.split("|"))
    word, _, rest = first.partition(" ")
    if word in _FUNCTIONS:
        first, functions = rest.strip(), [word, *functions]
    value = FIELDS.get(first) or _indexed(first)
    if value is None or not all(name in _FUNCTIONS for name in functions):
        raise InvalidArgument(f"invalid log tag '{template}': '{{{{{action}}}}}' is not known")
    for name in functions:
        value = partial(_applied, _FUNCTIONS[name], value)
    return value


def _applied(function: Callable[[str], str], value: Value, record: Container) -> str:
    return function(value(record))


def _indexed(text: str) -> Value | None:
    """``index .ContainerLabels "name"``."""
    found = _INDEX.fullmatch(text)
    if found is None:
        return None
    name = found[1] if found[1] is not None else found[2]
    return lambda record: (record.config.labels or {}).get(name, "")
