"""Go's duration syntax, which Docker uses: ``1m30s``, ``500ms``, ``1.5h``."""

from __future__ import annotations

import re
from decimal import Decimal

from wherry.errors import InvalidArgument

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_LIMIT = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Nanoseconds; InvalidArgument. A negative duration is refused."""
    if text == "0":
        return 0
    total = Decimal(0)
    position = 0
    while match := _PART.match(text, position):
        total += Decimal(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not position or position != len(text) or total > _LIMIT:
        raise InvalidArgument(f'invalid duration "{text}": want a number and a unit, like 30s')
    return int(total)
