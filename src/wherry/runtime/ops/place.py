"""Where the hooks of a container's side are run."""

from __future__ import annotations

import os

from wherry.runtime.ops.base import Op, Setup


class GoToRoot(Op, frozen=True):
    """Make the container's root, which is not yet "/", the working directory: hooks that put
    something into the container find it there, as with runc."""

    def describe(self) -> str:
        return "change to the container's root"

    def execute(self, setup: Setup) -> None:
        os.fchdir(setup.root_fd)
