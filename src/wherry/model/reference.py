"""Image references and their familiar short forms.

The grammar is that of the ``distribution/reference`` project: ``[domain/]path[:tag][@digest]``.
The first component is a domain if it holds a dot or a colon, or is ``localhost``; without one the
domain is ``docker.io``, and a path of one component is below ``library/``.
"""

from __future__ import annotations

import re

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.digest import Digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_NAME_LIMIT = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)


class Reference(msgspec.Struct, frozen=True):
    """A normalised image name. ``tag`` and ``digest`` may both be absent."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def repository(self) -> str:
        """Domain and path, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as a person writes it: ``python``, not ``docker.io/library/python``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        if self.path.startswith("library/") and self.path.count("/") == 1:
            return self.path.removeprefix("library/")
        return self.path

    @property
    def familiar(self) -> str:
        """The whole reference as a person writes it."""
        return self.familiar_repository + self._suffix()

    def __str__(self) -> str:
        return self.repository + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")

    def tagged(self) -> Reference:
        """The same reference with the tag ``latest`` if it has neither tag nor digest."""
        return self if self.tag or self.digest else msgspec.structs.replace(self, tag=DEFAULT_TAG)

    def with_tag(self, tag: str) -> Reference:
        if not _TAG.fullmatch(tag):
            raise InvalidArgument(f"invalid tag format: {tag!r}")
        return msgspec.structs.replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        return msgspec.structs.replace(self, digest=digest)


def parse_reference(text: str) -> Reference:
    """Parse a familiar or full name; InvalidArgument with Docker's wording if it is not one."""
    rest, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    name, tag = _split_tag(rest)
    domain, path = _split_domain(name)
    if path.lower() != path and _PATH.fullmatch(path.lower()):
        raise InvalidArgument(
            f"invalid reference format: repository name ({name}) must be lowercase"
        )
    valid = _DOMAIN.fullmatch(domain) and _PATH.fullmatch(path) and len(path) <= _NAME_LIMIT
    if not valid or (tag is not None and not _TAG.fullmatch(tag)):
        raise InvalidArgument(f"invalid reference format: {text!r} is not an image name")
    if re.fullmatch(r"[a-f0-9]{64}", text):
        raise InvalidArgument(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    return Reference(domain, path, tag, digest)


def is_domain(text: str) -> bool:
    """Whether a text is a registry's host, with or without a port."""
    _, colon, port = text.rpartition(":")
    known = not (colon and port.isdigit()) or int(port) < 65536
    return known and _DOMAIN.fullmatch(text) is not None


def _split_tag(text: str) -> tuple[str, str | None]:
    head, colon, tail = text.rpartition(":")
    if not colon or "/" in tail:
        return text, None
    return head, tail


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, name
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    return domain, path
