"""A policy as a value."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal

import msgspec

from wherry.api.policy.names import ImagePattern
from wherry.errors import PermissionDenied

Namespace = Literal["cgroup", "ipc", "network", "pid", "userns", "uts"]


class Refused(PermissionDenied):
    """The policy of the client's socket does not allow it; the sentence names the rule."""


class Grants(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The table ``[grant]``: powers over the host, none unless it is named.

    ``binds`` are directories of the host; what is below them may be mounted, read-only if the
    text ends in ``:ro``. ``devices`` are device files or directories of them, ``*`` for all.
    """

    privileged: bool = False
    host_namespaces: tuple[Namespace, ...] = ()
    binds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    unconfined: bool = False
    fetch: bool = False
    load: bool = False


class Policy(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab", dict=True
):
    """One file. ``name`` is what messages call it.

    ``endpoints``: names of operations, or ``METHOD PATTERN`` where ``*`` in a pattern is one part
    of a path and ``**`` any number of them. ``labels``: what an object must carry to be seen, and
    gets when it is made. ``images`` may be used, ``tags`` may be given to images.
    """

    name: str = ""
    mode: Literal["listed", "read-only"] = "listed"
    endpoints: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    images: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    grant: Grants = Grants()

    def refusal(self, what: str, rule: str) -> Refused:
        """``what`` is refused for want of ``rule``, the name of a key of the file."""
        return Refused(f"{what} is refused: the policy {self.name} does not allow it ({rule})")

    def carries(self, labels: dict[str, str] | None) -> bool:
        """Whether an object with these labels is one of the policy's."""
        have = labels or {}
        return all(have.get(key) == value for key, value in self.labels.items())

    def labelled(self, labels: dict[str, str] | None) -> dict[str, str]:
        """Labels of an object that is being made. Refused if they contradict."""
        have = dict(labels or {})
        for key, value in self.labels.items():
            if have.get(key, value) != value:
                raise self.refusal(f"the label {key}={have[key]}", "labels")
        return have | self.labels

    def may_call(self, method: str, path: str, operation: str) -> bool:
        """``path`` is the route's, with ``{name}`` for what varies."""
        if self.mode == "read-only":
            return method in ("GET", "HEAD") and operation not in _NO_READS
        if operation and operation in self.endpoints:
            return True
        return any(m in ("*", method) and p.fullmatch(path) for m, p in self._endpoint_patterns)

    @cached_property
    def _endpoint_patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        pairs = (text.split(None, 1) for text in self.endpoints if " " in text)
        return tuple((method, path_pattern(path)) for method, path in pairs)

    @cached_property
    def image_patterns(self) -> tuple[ImagePattern, ...]:
        every = ("**",) if self.mode == "read-only" else ()
        return tuple(ImagePattern(text) for text in (every if self.images is None else self.images))

    @cached_property
    def tag_patterns(self) -> tuple[ImagePattern, ...]:
        return tuple(map(ImagePattern, self.tags))


_NO_READS = frozenset(
    {
        "ContainerAttachWebsocket",  # writes to the container
        "DistributionInspect",  # makes the engine ask other machines
        "ImageSearch",
    }
)


def path_pattern(text: str) -> re.Pattern[str]:
    """``*`` is one part of a path, ``**`` any number of them."""
    pieces = re.split(r"(\*\*|\*)", text)
    told = {"*": "[^/]+", "**": ".+"}
    return re.compile("".join(told.get(piece) or re.escape(piece) for piece in pieces))
