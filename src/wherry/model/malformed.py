"""What decoding JSON raises when somebody else wrote it."""

from __future__ import annotations

import msgspec

MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Not the JSON or not the type that was asked for, bytes that are no UTF-8, or too deep."""
