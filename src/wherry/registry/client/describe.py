"""What a registry has under a name, without getting it."""

from __future__ import annotations

import msgspec

from wherry.errors import DataCorrupt
from wherry.model.decoding import decoded
from wherry.model.image import INDEX_TYPES, Descriptor, Index, Manifest, Platform
from wherry.model.malformed import MALFORMED
from wherry.registry.api import Described
from wherry.registry.client.platforms import is_attestation
from wherry.registry.client.repository import RawManifest, Repository

_CONFIG_LIMIT = 8 * 1024 * 1024  # bytes


class _Typed(msgspec.Struct, rename="camel"):
    media_type: str = ""


class _Machine(msgspec.Struct, omit_defaults=True):
    """The part of an image's configuration that tells what it is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


def describe(repository: Repository) -> Described:
    """The manifest or index that the name stands for, and the platforms it has."""
    raw = repository.manifest(repository.resolve())
    try:
        kind = decoded(raw.data, _Typed).media_type or raw.media_type
        found = _of_index(raw) if kind in INDEX_TYPES else _of_image(repository, raw)
    except MALFORMED as error:
        raise DataCorrupt(f"the registry sent a damaged manifest: {error}") from error
    return Described(
        descriptor=Descriptor(media_type=kind, digest=raw.digest, size=len(raw.data)),
        platforms=found,
    )


def _of_index(raw: RawManifest) -> tuple[Platform, ...]:
    entries = decoded(raw.data, Index).manifests
    return tuple(e.platform for e in entries if e.platform is not None and not is_attestation(e))


def _of_image(repository: Repository, raw: RawManifest) -> tuple[Platform, ...]:
    manifest = decoded(raw.data, Manifest)
    machine = decoded(repository.small_blob(manifest.config, _CONFIG_LIMIT), _Machine)
    if not machine.os:
        return ()
    return (Platform(architecture=machine.architecture, os=machine.os, variant=machine.variant),)
