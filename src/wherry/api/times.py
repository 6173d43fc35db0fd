"""Times as the API writes them. Inside they are nanoseconds since the epoch."""

from __future__ import annotations

import time

NEVER = "0001-01-01T00:00:00Z"
_NANO = 1_000_000_000


def rfc3339(ns: int) -> str:
    """RFC 3339 in UTC with nine digits; 0 is Go's zero time, "never"."""
    if ns <= 0:
        return NEVER
    seconds, nanos = divmod(ns, _NANO)
    t = time.gmtime(seconds)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}"
        f"T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}.{nanos:09}Z"
    )


def human_duration(seconds: float) -> str:
    """A rough length of time, in the words of ``docker ps``."""
    whole = int(seconds)
    minutes = whole // 60
    hours = int(seconds / 3600 + 0.5)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 14, f"{hours // 24} days"),
        (hours < 24 * 60, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 730, f"{hours // 24 // 30} months"),
    )
    for fits, words in steps:
        if fits:
            return words
    return f"{hours // 24 // 365} years"
