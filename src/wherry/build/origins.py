"""Images and stages that a build takes files from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

from wherry.build.job import Job, Tools
from wherry.build.platforms import parse_platform
from wherry.build.roots import DIRECTORY
from wherry.build.state import State
from wherry.errors import InvalidArgument
from wherry.model.digest import Digest
from wherry.store.api import Image


class Origins:
    """Finds stages by name or number, and images that are no stage."""

    def __init__(self, tools: Tools, job: Job, states: Mapping[int, State]) -> None:
        """``states`` has the stages that are built already, by index."""
        self._tools = tools
        self._job = job
        self._states = states
        self._images: dict[str, Image] = {}

    def resolve(self, name: str, platform: str = "") -> Image:
        """An image, pulled if need be. NotFound, InvalidArgument."""
        request = self._job.request
        if request.check_base is not None:
            request.check_base(name)
        wanted = platform or request.platform
        return self._tools.resolver.resolve(
            name,
            platform=parse_platform(wanted) if wanted else None,
            pull=request.pull,
            registry_config=request.registry_config,
            progress=self._job.progress,
        )

    def chain_id(self, name: str) -> Digest | None:
        """The tree of a stage or an image; None if it is empty. NotFound, InvalidArgument."""
        stage = self._job.plan.stage(name)
        if stage and stage.index in self._states:
            return self._states[stage.index].chain_id
        if stage:  # only a trigger of a base image can name one that is not planned
            raise InvalidArgument(f"the stage {name} is not built before it is copied from")
        if name == "scratch":
            return None
        if name not in self._images:
            self._images[name] = self.resolve(name)
        return self._images[name].chain_id

    def open(self, name: str) -> int:
        """The root of that tree, read-only; the caller closes it."""
        chain_id = self.chain_id(name)
        if chain_id:
            return self._tools.snapshots.open_root(chain_id)
        empty = tempfile.mkdtemp(dir=self._job.context.scratch)
        return os.open(empty, DIRECTORY)
