"""Values of log options, read as Docker reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from wherry.errors import InvalidArgument

ATTRIBUTES = ("labels", "labels-regex", "env", "env-regex", "tag")
"""Options of every logging service: attributes that go along, and the tag."""

_SUFFIXES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"(\d+)\s?([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def check_names(driver: str, options: Mapping[str, str], known: Collection[str]) -> None:
    """InvalidArgument for the first option that is not known."""
    for option in options:
        if option not in known:
            raise InvalidArgument(f"unknown log opt '{option}' for {driver} log driver")


def boolean(options: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Go's ``strconv.ParseBool``; InvalidArgument."""
    text = options.get(name, "")
    if not text:
        return default
    if text.lower() not in _BOOLEANS or text not in (text.lower(), text.upper(), text.title()):
        raise InvalidArgument(f"invalid value for log opt '{name}': '{text}' is no boolean")
    return _BOOLEANS[text.lower()]


def number(options: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    """A whole number of at least ``least``; InvalidArgument."""
    text = options.get(name, "")
    if not text:
        return default
    value = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else least - 1
    if value < least:
        raise InvalidArgument(
            f"invalid value for log opt '{name}': '{text}' is no whole number from {least} on"
        )
    return value


def duration(options: Mapping[str, str], name: str, default: float) -> float:
    """Seconds of a duration such as ``500ms``; InvalidArgument."""
    text = options.get(name, "")
    if not text:
        return default
    if text == "0":
        return 0.0
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise InvalidArgument(f"invalid value for log opt '{name}': '{text}' is no duration")
    return sum(float(count) * _UNITS[unit] for count, unit in _DURATION.findall(text))


def size(options: Mapping[str, str], name: str, default: int) -> int:
    """Bytes of a size such as ``20m``; -1 (no limit) gives 0. InvalidArgument."""
    text = options.get(name, "")
    if not text:
        return default
    if text == "-1":
        return 0
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(f"invalid value for log opt '{name}': invalid size: '{text}'")
    return int(found[1]) * _SUFFIXES[found[2].lower()]


def pattern(options: Mapping[str, str], name: str) -> re.Pattern[str] | None:
    """A regular expression, None if there is none; InvalidArgument."""
    text = options.get(name, "")
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"log opt '{name}' is no regular expression: {error}") from None
