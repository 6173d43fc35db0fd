"""Members that answers had in older versions of the API, or have no more in newer ones.

Each function takes an answer as the newest version has it and gives it as ``version`` has it.
Source: the Engine API's version history.
"""

from __future__ import annotations

from typing import Any

from wherry.api.versions import Version

_NO_VIRTUAL_SIZE: Version = (1, 44)
_NO_CONTAINER_OF_IMAGE: Version = (1, 45)
_NO_ARTIFACTS: Version = (1, 49)


def image(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """An image in a list. Before 1.44 its size was told twice."""
    if version >= _NO_VIRTUAL_SIZE:
        return value
    return {**value, "VirtualSize": value["Size"]}


def image_inspection(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """Before 1.45 there were members for the container that a step had run in."""
    value = image(value, version)
    if version >= _NO_CONTAINER_OF_IMAGE:
        return value
    return {**value, "Container": "", "ContainerConfig": value["Config"]}


def information(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """Before 1.49 there were lists of registries for layers that must not be passed on."""
    if version < _NO_ARTIFACTS:
        return value
    registries = {
        name: member
        for name, member in value["RegistryConfig"].items()
        if not name.startswith("AllowNondistributableArtifacts")
    }
    return {**value, "RegistryConfig": registries}


def usage(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """``system df``: the images in it."""
    if version >= _NO_VIRTUAL_SIZE or "Images" not in value:
        return value
    return {**value, "Images": [image(one, version) for one in value["Images"]]}
