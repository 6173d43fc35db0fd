"""Signals by name or number, as the API takes them."""

from __future__ import annotations

import signal

from wherry.errors import InvalidArgument

_HIGHEST = 64


def parse_signal(text: str, default: int = signal.SIGTERM) -> int:
    """``SIGTERM``, ``TERM``, ``15``, ``RTMIN+3``; empty gives ``default``. InvalidArgument."""
    if not text:
        return default
    name = text.upper()
    if name.isdigit():
        number = int(name)
    else:
        number = _by_name(name.removeprefix("SIG"))
    if not 0 < number <= _HIGHEST:
        raise InvalidArgument(f"invalid signal: {text}")
    return number


def _by_name(name: str) -> int:
    for base, sign in (("RTMIN+", 1), ("RTMAX-", -1)):
        rest = name.removeprefix(base)
        if rest != name and rest.isdigit():
            start = signal.SIGRTMIN if sign > 0 else signal.SIGRTMAX
            return int(start) + sign * int(rest)
    known = getattr(signal, f"SIG{name}", None)
    return int(known) if isinstance(known, signal.Signals) else 0
