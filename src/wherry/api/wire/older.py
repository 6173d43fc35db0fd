"""Members that answers had in older versions of the API, or have no more in newer ones.

Each function takes an answer as the newest version has it and gives it as ``version`` has it.
Source: the Engine API's version history.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wherry.api.versions import Version
from wherry.engine.networks.requests import is_user_defined
from wherry.model.container import EndpointSettings

_NO_PLACEHOLDERS: Version = (1, 43)
_NO_VIRTUAL_SIZE: Version = (1, 44)
_NO_CONTAINER_OF_IMAGE: Version = (1, 45)
_NO_ARTIFACTS: Version = (1, 49)
_PLAIN_CONFIG: Version = (1, 50)
_COUNTED_USERS: Version = (1, 51)
_NO_BUILDER_SIZE: Version = (1, 42)
_OF_CONTAINERS: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}
"""Members of a container's configuration that images' had, too."""


def image(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """An image in a list. Before 1.44 its size was told twice."""
    if version >= _NO_VIRTUAL_SIZE:
        return value
    return {**value, "VirtualSize": value["Size"]}


def listed_image(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """Before 1.51 nobody counted containers; before 1.43 what has no name was called so."""
    value = image(value, version)
    if version < _COUNTED_USERS:
        value = {**value, "Containers": -1}
    if version < _NO_PLACEHOLDERS and not value["RepoTags"]:
        value = {**value, "RepoTags": ["<none>:<none>"]}
    if version < _NO_PLACEHOLDERS and not value["RepoDigests"]:
        value = {**value, "RepoDigests": ["<none>@<none>"]}
    return value


def image_inspection(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """Before 1.50 its configuration had more members than images have; before 1.45 there were
    members for the container that a step had run in."""
    value = image(value, version)
    if version < _PLAIN_CONFIG:
        value = {**value, "Config": {**_OF_CONTAINERS, **value["Config"]}}
    if version < _NO_CONTAINER_OF_IMAGE:
        value = {**value, "Container": "", "ContainerConfig": value["Config"]}
    return value


def container(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """An inspection. Before 1.45 the short id was among the aliases."""
    if version >= _NO_CONTAINER_OF_IMAGE:
        return value
    short = value["Id"][:12]
    networks = {
        name: _with_alias(settings, short) if is_user_defined(name) else settings
        for name, settings in value["NetworkSettings"]["Networks"].items()
    }
    return {**value, "NetworkSettings": {**value["NetworkSettings"], "Networks": networks}}


def _with_alias(settings: EndpointSettings, alias: str) -> EndpointSettings:
    aliases = dict.fromkeys((*(settings.aliases or ()), alias))
    return msgspec.structs.replace(settings, aliases=tuple(aliases))


def information(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """Before 1.50 something was said of bridges, before 1.49 which programs were expected, and
    there were lists of registries for layers that must not be passed on."""
    if version < _PLAIN_CONFIG:
        value = {**value, "BridgeNfIptables": False, "BridgeNfIp6tables": False}
    if version < _NO_ARTIFACTS:
        programs = ("ContainerdCommit", "RuncCommit", "InitCommit")
        expected = {name: {**value[name], "Expected": value[name]["ID"]} for name in programs}
        return {**value, **expected}
    registries = {
        name: member
        for name, member in value["RegistryConfig"].items()
        if not name.startswith("AllowNondistributableArtifacts")
    }
    return {**value, "RegistryConfig": registries}


def usage(value: dict[str, Any], version: Version) -> dict[str, Any]:
    """``system df``: the images in it, and before 1.42 the size of the builder's own."""
    if "Images" in value and version < _NO_VIRTUAL_SIZE:
        value = {**value, "Images": [image(one, version) for one in value["Images"]]}
    if version >= _NO_BUILDER_SIZE:
        return {name: member for name, member in value.items() if name != "BuilderSize"}
    if "BuildCache" in value:
        uses = [{**one, "Parent": ""} for one in value["BuildCache"]]
        value = {**value, "BuildCache": uses}
    return value
