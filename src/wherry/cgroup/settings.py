"""What is to be written where: the common form of limits on both versions of control groups."""

from __future__ import annotations

from typing import NamedTuple


class Setting(NamedTuple):
    """One value for one file of one controller.

    An ``optional`` one is skipped where the kernel lacks the file: it follows from another
    setting and was not asked for by itself.
    """

    controller: str
    file: str
    value: str
    optional: bool = False


Step = tuple[Setting, ...]
"""Settings that depend on each other: if the first is refused, the reverse order is tried."""


def single(controller: str, file: str, value: int | str) -> Step:
    return (Setting(controller, file, str(value)),)
