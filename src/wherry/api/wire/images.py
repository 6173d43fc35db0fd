"""Images: one line of a list, an inspection, a history. Names are written as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wherry.api.times import rfc3339
from wherry.engine.images.times import listed_ns, stamp_ns
from wherry.engine.records import RemovedImage
from wherry.model.image import History
from wherry.model.reference import parse_reference
from wherry.store.api import Image

_NANO = 1_000_000_000
"""Begins the comment of the history's last step in images that Wherry made."""


def familiar(names: Iterable[str]) -> list[str]:
    """``docker.io/library/python:3.11`` is ``python:3.11``."""
    return [parse_reference(name).familiar for name in names]


def summary(image: Image, containers: int = -1, shared_size: int = -1) -> dict[str, Any]:
    """Definition ImageSummary; -1 is "not computed"."""
    return {
        "Id": image.id,
        "ParentId": image.parent or "",
        "RepoTags": familiar(image.references),
        "RepoDigests": familiar(image.repo_digests),
        "Created": listed_ns(image) // _NANO,
        "Size": image.size,
        "SharedSize": shared_size,
        "Labels": image.config.config.labels or {},
        "Containers": containers,
    }


def inspection(image: Image, *, driver: str = "overlayfs") -> dict[str, Any]:
    """Definition ImageInspect."""
    config = image.config
    found: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": familiar(image.references),
        "RepoDigests": familiar(image.repo_digests),
        "Parent": image.parent or "",
        "Comment": config.history[-1].comment if config.history else "",
        "Created": config.created or rfc3339(0),
        "DockerVersion": "",
        "Author": config.author,
        "Config": exec_config(image),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "GraphDriver": {"Name": driver, "Data": None},
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": rfc3339(image.created_ns)},
    }
    if config.variant:
        found["Variant"] = config.variant
    if config.os_version:
        found["OsVersion"] = config.os_version
    return found


def exec_config(image: Image) -> dict[str, Any]:
    """Definition ImageConfig: the fields that Docker always writes, and those that are set."""
    import msgspec

    base = {
        "User": "",
        "Env": None,
        "Cmd": None,
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": None,
        "OnBuild": None,
        "Labels": None,
    }
    members: dict[str, Any] = msgspec.to_builtins(image.config.config)
    return base | members


def history_line(
    step: History, size: int, image_id: str, tags: Iterable[str] | None
) -> dict[str, Any]:
    """Definition HistoryResponseItem."""
    return {
        "Id": image_id,
        "Created": stamp_ns(step.created) // _NANO,
        "CreatedBy": step.created_by,
        "Tags": list(tags) if tags is not None else None,
        "Size": size,
        "Comment": step.comment,
    }


def history(steps: Iterable[tuple[History, int]], image: Image) -> list[dict[str, Any]]:
    """Newest first. Only the newest step is an image; the others are ``<missing>``."""
    lines = []
    for place, (step, size) in enumerate(steps):
        name = image.id if place == 0 else "<missing>"
        tags = familiar(image.references) or None if place == 0 else None
        lines.append(history_line(step, size, name, tags))
    return lines


def removed(lines: Iterable[RemovedImage]) -> list[dict[str, str]]:
    """Definition ImageDeleteResponseItem, in order."""
    found: list[dict[str, str]] = []
    for item in lines:
        if item.untagged:
            found.append({"Untagged": item.untagged})
        if item.deleted:
            found.append({"Deleted": item.deleted})
    return found
