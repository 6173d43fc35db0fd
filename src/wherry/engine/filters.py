"""The ``filters`` parameter of the list and prune endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wherry.errors import InvalidArgument


def check_names(
    filters: Mapping[str, Sequence[str]], known: Iterable[str], flags: Iterable[str] = ()
) -> None:
    """InvalidArgument, in Docker's words, for a filter that does not exist here, or whose value is
    no boolean though it is one of ``flags``: also where nothing is there to be filtered."""
    for name in filters:
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'")
    for name in flags:
        if filters.get(name):
            as_bool(name, filters[name])


def labels_match(wanted: Sequence[str], labels: Mapping[str, str] | None) -> bool:
    """Each of ``wanted`` is ``key`` (must exist) or ``key=value`` (must be equal)."""
    have = labels or {}
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in have or (equals and have[key] != value):
            return False
    return True


def as_bool(name: str, values: Sequence[str]) -> bool:
    """A filter with one boolean value; InvalidArgument otherwise."""
    true, false = (
        {"1", "true", "True", "TRUE", "t", "T"},
        {"0", "false", "False", "FALSE", "f", "F"},
    )
    if len(values) == 1 and values[0] in true | false:
        return values[0] in true
    raise wrong_value(name, values)


def wrong_value(name: str, values: Sequence[str]) -> InvalidArgument:
    """For values that a filter cannot have."""
    return InvalidArgument(f"invalid filter '{name}=[{' '.join(values)}]'")


def as_time(text: str, now_ns: int) -> int:
    """``until``/``since``: seconds since the epoch, RFC 3339, or a duration before now ("10m").

    Returns nanoseconds since the epoch.
    """
    from datetime import UTC, datetime

    seconds, _, fraction = text.partition(".")
    if seconds.isdigit():
        return int(seconds) * 10**9 + int((fraction + "0" * 9)[:9] or 0)
    duration = _duration(text)
    if duration is not None:
        return now_ns - duration
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise InvalidArgument(f"invalid time {text!r}: want seconds, RFC 3339 or 10m") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 10**9)


_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def _duration(text: str) -> int | None:
    import re

    if not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:h|ms|us|ns|m|s))+", text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)", text)
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
