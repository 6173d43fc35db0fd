"""The functions of ``--format`` templates, and how Go prints values."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class TemplateError(Exception):
    """The template does not fit the data."""


def show(value: object) -> str:
    """A value as Go's ``%v`` prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        inner = " ".join(f"{key}:{show(value[key])}" for key in sorted(value))
        return f"map[{inner}]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(show, value)) + "]"
    return str(value)


def to_json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> object:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif value is not None:
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key]
    return value


def _slice(value: Any, start: int = 0, end: int | None = None) -> object:
    return value[start:end]


def _and(*values: object) -> object:
    return next((value for value in values if not value), values[-1])


def _or(*values: object) -> object:
    return next((value for value in values if value), values[-1])


def _equal(first: object, *others: object) -> bool:
    return any(first == other for other in others)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after


def _printf(form: str, *values: object) -> str:
    waiting = iter(values)

    def verb(found: re.Match[str]) -> str:
        letter = found[2]
        if letter == "%":
            return "%"
        value: Any = next(waiting)
        if letter == "q":
            return json.dumps(show(value), ensure_ascii=False)
        if letter in "vst":
            return str(f"%{found[1]}s" % show(value))
        return str(f"%{found[1]}{letter}" % value)

    return re.sub(r"%([-+0 #]*\d*(?:\.\d+)?)([vsqdxXfget%])", verb, form)


def _println(*values: object) -> str:
    return " ".join(map(show, values)) + "\n"


FUNCTIONS: dict[str, Callable[..., object]] = {
    "and": _and,
    "eq": _equal,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "join": lambda values, separator: separator.join(map(show, values or ())),
    "json": to_json,
    "le": lambda a, b: a <= b,
    "len": lambda value: len(value or ()),
    "lower": lambda text: text.lower(),
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda value: not value,
    "or": _or,
    "pad": _pad,
    "print": lambda *values: "".join(map(show, values)),
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "split": lambda text, separator: text.split(separator),
    "title": lambda text: text.title(),
    "truncate": lambda text, length: text[:length],
    "upper": lambda text: text.upper(),
}
