"""The seam between the engine and the volumes of its containers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
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


class VolumeSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the content of a volume is, for a user that was given it. ``recursive``: with what is
    mounted in it. ``id_map`` is as :mod:`wherry.model.idmap` writes it, empty for none."""

    path: str
    recursive: bool = True
    read_only: bool = False
    id_map: str = ""


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
        InvalidArgument for the name or an option; NotFound for a driver, NotSupported for an
        option.
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
        """Where the content of a volume without options is on the host. NotFound."""
        ...

    def attach(self, name: str, user: str) -> VolumeSource:
        """Make a volume's content available to a user (a running container) until
        :meth:`detach`; what needs mounting is mounted for the first. Idempotent.

        NotFound; InvalidArgument or NotSupported if the kernel refuses what the options say.
        """
        ...

    def detach(self, user: str) -> None:
        """Let go of all that a user was given; the last one's mounts are taken away. Idempotent.
        The content of a tmpfs is lost with its last user."""
        ...

    def reconcile(self, users: Mapping[str, Iterable[str]]) -> None:
        """Called once, after an engine's start: who goes on using which volumes, by name. What an
        earlier engine mounted for anybody else is taken away."""
        ...

    def content(self, name: str) -> AbstractContextManager[int]:
        """A descriptor of the directory with the content, which is available meanwhile. Errors as
        of :meth:`attach`."""
        ...

    def usage(self, name: str) -> int:
        """Bytes that the content takes; -1 if it is not on the engine's own disk, or not there
        now. NotFound."""
        ...

    def populate(self, name: str, source_root_fd: int, path: str) -> bool:
        """Copy what an image has at ``path`` into a volume that is empty, with owners, modes and
        xattrs, those of the directory itself included.

        ``source_root_fd`` is the root of the image's tree; ``path`` is resolved in it. False if
        there was nothing to do: the volume has content or keeps none (a tmpfs), or ``path`` is no
        directory.
        """
        ...

    def fill(self, name: str, write: Callable[[int], None]) -> None:
        """Give a volume that is empty its content, all of it or nothing: ``write`` puts it into a
        directory, whose own attributes become the volume's, too.

        NotFound; Conflict if there is content. What ``write`` raises is passed on.
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
