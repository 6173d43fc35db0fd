"""The seam between the engine and the volumes of its containers."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that outlives containers. ``anonymous`` ones got their name from the engine."""

    name: str
    driver: str
    path: str  # of its content on the host, absolute
    options: dict[str, str]
    labels: dict[str, str]
    created_ns: int
    anonymous: bool


class Volumes(Protocol):
    """All volumes of one engine. Safe to call from several threads."""

    def create(
        self,
        name: str | None = None,
        driver: str = "local",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Volume:
        """Make a volume; without a name it gets one of 64 hex digits.

        A name that exists gives the existing volume, whatever its labels.
        InvalidArgument for the name; NotSupported for a driver or an option.
        """
        ...

    def get(self, name: str) -> Volume:
        """NotFound "no such volume" as Docker words it."""
        ...

    def list(self) -> tuple[Volume, ...]:
        """By name."""
        ...

    def remove(self, name: str) -> None:
        """Remove a volume and its content. NotFound; Conflict while a container uses it."""
        ...

    def path(self, name: str) -> str:
        """Where the content is on the host. NotFound."""
        ...

    def populate(self, name: str, source_root_fd: int, path: str) -> bool:
        """Copy what an image has at ``path`` into a volume that is empty, with owners, modes and
        xattrs, those of the directory itself included.

        ``source_root_fd`` is the root of the image's tree; ``path`` is resolved in it. False if
        there was nothing to do: the volume has content, or ``path`` is no directory.
        """
        ...

    def use(self, name: str, container_id: str) -> None:
        """Note that a container needs a volume. Idempotent. NotFound."""
        ...

    def release(self, container_id: str) -> tuple[Volume, ...]:
        """Forget all that a container uses; the volumes it used. Idempotent."""
        ...

    def users(self, name: str) -> tuple[str, ...]:
        """The containers that use a volume. NotFound."""
        ...
