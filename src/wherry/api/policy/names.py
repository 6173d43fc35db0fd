"""Patterns of image names: ``alpine``, ``alpine:3.*``, ``registry.example.com/team/**``."""

from __future__ import annotations

import re

from wherry.errors import InvalidArgument
from wherry.model.reference import DEFAULT_DOMAIN, Reference, parse_reference


class ImagePattern:
    """``*`` stands for any characters but a slash, ``**`` for any at all. Without a tag it is every
    tag and digest of the name; a short name is Docker Hub's, as everywhere."""

    def __init__(self, text: str) -> None:
        head, colon, tail = text.rpartition(":")
        tagged = bool(colon) and "/" not in tail
        name, tag = (head, tail) if tagged else (text, "**")
        self.text = text
        self._any_tag = tag in ("*", "**")
        self._name = _compiled(_full(name))
        self._tag = _compiled(tag)

    def matches(self, reference: Reference) -> bool:
        if not self._name.fullmatch(reference.repository):
            return False
        if reference.digest is not None:
            return self._any_tag
        return self._tag.fullmatch(reference.tag or "latest") is not None


def _full(name: str) -> str:
    if name == "**":
        return name
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or "*" in first):
        return name
    return f"{DEFAULT_DOMAIN}/{name}" if slash else f"{DEFAULT_DOMAIN}/library/{name}"


def _compiled(text: str) -> re.Pattern[str]:
    told = {"*": "[^/]*", "**": ".*"}
    pieces = re.split(r"(\*\*|\*)", text)
    return re.compile("".join(told.get(piece) or re.escape(piece) for piece in pieces))


def named(text: str, patterns: tuple[ImagePattern, ...]) -> bool:
    """Whether a name as a client writes it fits one of the patterns; one that is no name does
    not."""
    try:
        reference = parse_reference(text)
    except InvalidArgument:
        return False
    return any(pattern.matches(reference) for pattern in patterns)
