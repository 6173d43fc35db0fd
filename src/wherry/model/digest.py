"""Content digests (OCI image-spec, descriptor.md, section "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from wherry.errors import InvalidArgument

Digest = NewType("Digest", str)
"""``algorithm:hex`` of content; only ``sha256`` and ``sha512`` are accepted."""

_PATTERN = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest; InvalidArgument if it is not one."""
    if not _PATTERN.fullmatch(text):
        raise InvalidArgument(f"invalid digest {text!r}: want sha256: and 64 lower-case hex digits")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """Return the sha256 digest of ``data``."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def algorithm(digest: Digest) -> str:
    return digest.partition(":")[0]


def hex_of(digest: Digest) -> str:
    return digest.partition(":")[2]


def short(digest: Digest) -> str:
    """The first twelve hex digits, as Docker prints an image's id."""
    return hex_of(digest)[:12]
