"""Parameters of a build that Wherry refuses by name, and those that must fit."""

from __future__ import annotations

from wherry.build.api import BuildRequest
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.reference import Reference, parse_reference


def check_request(request: BuildRequest) -> tuple[Reference, ...]:
    """The names for the image; NotSupported or InvalidArgument names the parameter."""
    if request.squash:
        raise NotSupported("squash is not supported: build with fewer steps, or export the image")
    if request.version not in ("", "1"):
        raise NotSupported(
            f"version {request.version} of the builder is not supported: use version 1, the "
            "classic build (DOCKER_BUILDKIT=0)"
        )
    if request.outputs:
        raise NotSupported("outputs is not supported: a build makes an image in this engine")
    if request.isolation not in ("", "default"):
        raise NotSupported(f"isolation {request.isolation} is not supported on Linux")
    if request.network_mode.startswith("container:"):
        raise NotSupported("network mode container: is not supported for builds: name a network")
    for name in ("memory", "cpu_shares", "cpu_period", "cpu_quota", "shm_size"):
        if getattr(request, name) < 0:
            raise InvalidArgument(f"{name.replace('_', '')} must not be negative")
    return tuple(_tag(text) for text in request.tags)


def _tag(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest:
        raise InvalidArgument(f"refusing to create a tag with a digest reference: {text}")
    return reference.tagged()
