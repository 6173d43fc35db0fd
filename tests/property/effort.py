"""How many examples the fuzzers try: few in every run, many with ``WHERRY_LONG=1``."""

from __future__ import annotations

import os

_FACTOR = 50 if os.environ.get("WHERRY_LONG", "") not in ("", "0") else 1


def examples(number: int) -> int:
    """``number`` of them, or fifty times that."""
    return number * _FACTOR
