"""Which entry of an index is meant for a machine."""

from __future__ import annotations

import platform as host
from collections.abc import Iterable

from wherry.errors import InvalidArgument
from wherry.model.image import ARCHITECTURES, Descriptor, Index, Platform
from wherry.registry.client.errors import ManifestUnknown

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
}
_IMPLIED_VARIANT = {"arm64": "v8", "amd64": "v1", "arm": "v7"}
_ATTESTATION = "vnd.docker.reference.type"


def host_platform() -> Platform:
    """The platform of this machine."""
    architecture, variant = _normal(host.machine(), "")
    return Platform(os="linux", architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """``os[/architecture[/variant]]`` or an architecture alone; InvalidArgument."""
    parts = text.lower().split("/")
    if not all(parts) or len(parts) > 3:
        raise InvalidArgument(f'"{text}" is an invalid platform: want os/architecture[/variant]')
    if len(parts) == 1:
        return _parse_single(parts[0])
    architecture, variant = _normal(parts[1], parts[2] if len(parts) == 3 else "")
    return Platform(os=parts[0], architecture=architecture, variant=variant)


def _parse_single(part: str) -> Platform:
    here = host_platform()
    if part == "linux":
        return here
    if part in ("windows", "darwin", "freebsd"):
        return Platform(os=part, architecture=here.architecture)
    architecture, variant = _normal(part, "")
    if architecture not in ARCHITECTURES:
        raise InvalidArgument(
            f'"{part}": unknown operating system or architecture: invalid argument'
        )
    return Platform(os="linux", architecture=architecture, variant=variant)


def _normal(architecture: str, variant: str) -> tuple[str, str]:
    name, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    return name, variant or implied


def choose(index: Index, wanted: Platform, name: str) -> Descriptor:
    """The best entry for a platform; ManifestUnknown in Docker's words if none will do.

    An equal variant wins, then for arm the nearest older one. Entries without a platform are the
    last resort, as in indexes of a single image.
    """
    entries = [entry for entry in index.manifests if not is_attestation(entry)]
    ranked = sorted(
        (rank, place)
        for place, entry in enumerate(entries)
        if (rank := _rank(entry, wanted)) is not None
    )
    if ranked:
        return entries[ranked[0][1]]
    if unlabelled := [entry for entry in entries if entry.platform is None]:
        return unlabelled[0]
    raise ManifestUnknown(
        f"no matching manifest for {wanted} in the manifest list entries of {name}: "
        f"it has {_names(entries)}"
    )


def is_attestation(entry: Descriptor) -> bool:
    """An entry that describes another one and is no image (``unknown/unknown``)."""
    platform = entry.platform
    unknown = platform is not None and platform.os == platform.architecture == "unknown"
    return unknown or _ATTESTATION in entry.annotations


def matches(offered: Platform, wanted: Platform) -> bool:
    """Whether an image for ``offered`` is one for ``wanted``."""
    return _distance(offered, wanted) is not None


def _rank(entry: Descriptor, wanted: Platform) -> int | None:
    return None if entry.platform is None else _distance(entry.platform, wanted)


def _distance(offered: Platform, wanted: Platform) -> int | None:
    architecture, variant = _normal(offered.architecture, offered.variant)
    if offered.os != wanted.os or architecture != wanted.architecture:
        return None
    have, want = _level(architecture, variant), _level(architecture, wanted.variant)
    if have > want or (architecture == "arm64" and have != want and wanted.variant):
        return None
    return want - have


def _level(architecture: str, variant: str) -> int:
    """A variant's number; the one that its absence implies where there is none."""
    digits = (variant or _IMPLIED_VARIANT.get(architecture, "")).removeprefix("v")
    return int(digits) if digits.isdigit() else 0


def _names(entries: Iterable[Descriptor]) -> str:
    names = sorted({str(entry.platform) for entry in entries if entry.platform})
    return ", ".join(names) or "none"
