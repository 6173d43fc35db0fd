"""When images were made, as lists show it and filters compare it."""

from __future__ import annotations

from wherry.engine.filters import as_time
from wherry.errors import InvalidArgument
from wherry.store.api import Image

_OWN_COMMENT = "wherry."


def created_ns(image: Image) -> int:
    """When the configuration says it was made; 0 if it does not say."""
    return stamp_ns(image.config.created)


def listed_ns(image: Image) -> int:
    """The time that a list shows: of an image that was made here, when that was.

    The configuration of such an image has a fixed time, so that equal builds are equal images
    (docs/decisions/0020-times-in-built-images.md); "4 months ago" helps nobody who just built it,
    and ``prune --filter until=24h`` is not meant to take it.
    """
    history = image.config.history
    made_here = bool(history) and history[-1].comment.startswith(_OWN_COMMENT)
    return image.created_ns if made_here else created_ns(image)


def stamp_ns(text: str) -> int:
    """A time of an image's configuration, which any builder may have written; 0 if unreadable."""
    if not text:
        return 0
    try:
        return as_time(text, 0)
    except (InvalidArgument, OverflowError, ValueError):
        return 0
