"""Taking notice of the end of a process."""

from __future__ import annotations

import os
from collections.abc import Callable

from wherry.network.resolver.loop import READ, Loop


class Follower:
    """Follows one process at a time, by its pidfd."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pidfd = -1

    @property
    def is_following(self) -> bool:
        """Whether a process is known, and there."""
        return self._pidfd >= 0

    def follow(self, pidfd: int, ended: Callable[[], None]) -> None:
        """Call ``ended`` when the process has ended. Takes the descriptor over."""
        self.close()
        self._pidfd = pidfd

        def on_end(_: int) -> None:
            self.close()
            ended()

        self._loop.watch(pidfd, READ, on_end)

    def close(self) -> None:
        if self._pidfd >= 0:
            self._loop.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
