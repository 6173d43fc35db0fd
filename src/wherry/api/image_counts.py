"""Who uses an image, and how much of it others share."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from wherry.api.wire import images as wire
from wherry.engine.api import EngineApi
from wherry.model.digest import Digest
from wherry.store.api import Image


class ImageCounts(msgspec.Struct, frozen=True):
    """``users`` are containers by image, ``holders`` images by layer (its chain id)."""

    users: dict[Digest, int]
    holders: dict[Digest, int]

    def summary(self, image: Image, *, shared: bool) -> dict[str, Any]:
        """One line of a list; what is shared only if that was asked for."""
        size = -1
        if shared:
            size = sum(one.size for one in image.layers if self.holders[one.chain_id] > 1)
        return wire.summary(image, self.users.get(image.id, 0), size)


def count_images(engine: EngineApi) -> ImageCounts:
    containers = engine.containers.list(running_only=False)
    images = engine.image_store.list()
    return ImageCounts(
        users=Counter(container.image_id for container in containers),
        holders=Counter(layer.chain_id for image in images for layer in image.layers),
    )
