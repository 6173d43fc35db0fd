"""What is to be written where: the common form of limits on both versions of control groups."""

from __future__ import annotations

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """One value for one file of one controller.

    An ``optional`` one is skipped where the kernel lacks the file: it follows from another
    setting and was not asked for by itself. ``instead`` is what has the same effect there.
    """

    controller: str
    file: str
    value: str
    optional: bool = False
    instead: Setting | None = None


Step = tuple[Setting, ...]
"""Settings that depend on each other: if the first is refused, the reverse order is tried."""


def single(controller: str, file: str, value: int | str) -> Step:
    return (Setting(controller, file, str(value)),)
