"""Sizes, times and tables in Docker's words."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_PADDING = 3  # spaces between two columns
_NARROWEST = 10  # a column with its padding
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def human_size(size: float, digits: int = 3) -> str:
    """``74.8MB``: in powers of 1000, with so many significant digits."""
    return _scaled(size, 1000, _DECIMAL, digits)


def binary_size(size: float, digits: int = 4) -> str:
    """``7.629MiB``: in powers of 1024."""
    return _scaled(size, 1024, _BINARY, digits)


def _scaled(size: float, base: int, units: Sequence[str], digits: int) -> str:
    step = 0
    while abs(size) >= base and step < len(units) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{units[step]}"


def human_duration(seconds: float) -> str:
    """``About an hour``, ``3 weeks``."""
    whole = int(seconds)
    minutes, hours = whole // _MINUTE, int(seconds / _HOUR + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < _MINUTE:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    return _days(hours)


def _days(hours: int) -> str:
    days = hours // 24
    if hours < 48:
        return f"{hours} hours"
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    if days < 730:
        return f"{days // 30} months"
    return f"{days // 365} years"


def ago(timestamp: float) -> str:
    """``3 minutes ago``; ``timestamp`` in seconds since the epoch, ``N/A`` for none."""
    return f"{human_duration(time.time() - timestamp)} ago" if timestamp > 0 else "N/A"


def parse_stamp(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, 0 for one that was never reached."""
    found = _STAMP.fullmatch(text)
    if not found or found[1] == "0001":
        return 0.0
    numbers = [int(found[index]) for index in range(1, 7)]
    seconds = _seconds(*numbers) + float(found[7] or 0)
    zone = found[8]
    if zone == "Z":
        return seconds
    offset = int(zone[1:3]) * _HOUR + int(zone[4:6]) * _MINUTE
    return seconds - offset if zone[0] == "+" else seconds + offset


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Seconds since the epoch in UTC (days from the civil date, proleptic Gregorian)."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + day_of_year - 719468
    return days * _DAY + hour * _HOUR + minute * _MINUTE + second


def local_stamp(seconds: float) -> str:
    """``2026-11-21 08:40:35 +0000 UTC``, in the local zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def rfc3339(seconds: int, nanoseconds: int = 0) -> str:
    """A local time with nanoseconds, as events and logs show it."""
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + f".{nanoseconds:09d}{zone[:3]}:{zone[3:]}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns; the last column is not padded. Images and containers wrote some
    of the texts: they send nothing to the terminal but characters that can be seen."""
    if not rows:
        return []
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [
        max(_NARROWEST, max(len(row[i]) for row in rows) + _PADDING) for i in range(len(rows[0]))
    ]
    return [
        "".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False)) + row[-1]
        for row in rows
    ]


def short_id(identifier: str) -> str:
    """Twelve digits of an id, without its algorithm."""
    return identifier.partition(":")[2][:12] if ":" in identifier else identifier[:12]


def ellipsis(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def visible(text: str) -> str:
    """``text`` with escapes for control characters, as a string literal has them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(text: str) -> str:
    """``text`` as a string literal in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{visible(escaped)}"'
