"""How long tests wait for what must come, before they call it missing.

``WHERRY_TEST_PATIENCE`` multiplies that on machines that are slow, such as emulated ones. It
makes no test take longer that passes.
"""

from __future__ import annotations

import os

_FACTOR = float(os.environ.get("WHERRY_TEST_PATIENCE", "1"))


def patience(seconds: float) -> float:
    """Seconds to wait here, where a real machine would be given ``seconds``."""
    return seconds * _FACTOR
