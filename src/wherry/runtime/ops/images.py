"""Images that are mounted in a container."""

from __future__ import annotations

import os
import stat

from wherry.errors import NotFound
from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.rooted import make_in
from wherry.sys import mount as m
from wherry.sys.trees import clone_layers


class MountLayers(Op, frozen=True):
    """Mount an image's layers, read-only, or what is at a path in them."""

    layers: tuple[str, ...]
    target: str
    subpath: str = ""

    def describe(self) -> str:
        return f"mount an image on {self.target}"

    def execute(self, setup: Setup) -> None:
        try:
            tree = clone_layers(self.layers, self.subpath, setup.root_fd)
        except FileNotFoundError:
            raise NotFound(f"the image on {self.target} has no {self.subpath!r}") from None
        try:
            m.mount_setattr(tree, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
            directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            target = make_in(setup.root_fd, self.target, directory=directory, created=setup.created)
            try:
                m.attach(tree, target)
            finally:
                os.close(target)
        finally:
            os.close(tree)
