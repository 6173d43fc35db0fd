"""What the engine offers to those who speak to the world: the HTTP API and the tests.

All methods are synchronous and may block for a short while (system calls, SQLite); those that
take long say so, and belong in a thread. ``ref`` is a container's name (with or without a leading
slash), its id, or an unambiguous prefix of the id; an unknown one raises NotFound
"No such container: REF".
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import MappingProxyType
from typing import BinaryIO, Literal, Protocol

import msgspec

from wherry.build.api import BuildRequest, BuildResult, Cancel, ContextStream, Progress
from wherry.cgroup.api import Stats
from wherry.engine.network_api import AttachmentApi
from wherry.engine.records import (
    Container,
    Credentials,
    Exec,
    ExecOptions,
    RemovedImage,
    WaitResult,
)
from wherry.engine.system_api import EventApi, SystemApi
from wherry.engine.volume_api import VolumeBackupApi
from wherry.errors import WherryError
from wherry.fs.streams import Readable
from wherry.model.container import ContainerChanges, ContainerConfig, HostConfig, NetworkingConfig
from wherry.model.digest import Digest
from wherry.model.image import History
from wherry.network.api import Networks
from wherry.registry.api import Described
from wherry.runtime.api import Listening
from wherry.runtime.logs.reader import LogReader
from wherry.store.api import Image, Images
from wherry.volume.api import Volumes

Filters = Mapping[str, Sequence[str]]
"""Decoded ``filters`` parameter: name to accepted values. An unknown name is InvalidArgument."""

NO_FILTERS: Filters = MappingProxyType({})

ProgressLine = dict[str, object]
"""One JSON object of a progress stream: ``{"status": "Pulling from library/x", "id": ...}``."""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    warnings: tuple[str, ...] = ()


class ContainerSize(msgspec.Struct, frozen=True, kw_only=True):
    writable: int  # bytes of the writable layer
    total: int  # with the image


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    removed: tuple[str, ...]
    reclaimed: int  # bytes


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    """What is at a path in a container. ``mode`` is ``st_mode``; ``link_target`` is absolute in the
    container, empty if it is no link."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str


class NetworkCounters(msgspec.Struct, frozen=True):
    """Of one interface, since it was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class StatsSample(msgspec.Struct, frozen=True, kw_only=True):
    """What a container used until now. ``system_cpu_ns`` is the time of all processors together;
    ``memory_limit`` is in bytes, that of the host if there is no other."""

    read_ns: int
    group: Stats
    system_cpu_ns: int
    online_cpus: int
    memory_limit: int
    networks: dict[str, NetworkCounters]


class CommitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``config`` is merged over the container's own; ``changes`` are Dockerfile instructions."""

    repository: str = ""
    tag: str = ""
    author: str = ""
    comment: str = ""
    pause: bool = True
    changes: tuple[str, ...] = ()
    config: ContainerConfig = ContainerConfig()


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``source`` is a URL, for an archive that the client does not send itself."""

    source: str = "-"
    repository: str = ""
    tag: str = ""
    message: str = ""
    platform: str = ""
    changes: tuple[str, ...] = ()


class CacheUse(msgspec.Struct, frozen=True, kw_only=True):
    """One step that the build cache knows. ``shared``: an image has its layer, too."""

    id: str
    size: int  # bytes
    created_ns: int
    used_ns: int
    shared: bool


class ContainerApi(Protocol):
    def create(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        *,
        platform: str = "",
        host_ca: bool | None = None,
        places: Mapping[str, str] = ...,
    ) -> Created:
        """NotFound "No such image: X:tag"; Conflict for a name in use, in Docker's words.
        ``places`` are directories that binds never leave, by the binds' real sources."""
        ...

    def start(self, ref: str) -> None:
        """NotModified if it runs already. CommandNotFound and CommandNotExecutable (both
        InvalidArgument-like, 400) carry Docker's text; the container's exit code is 127 or 126."""
        ...

    def stop(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None:
        """Blocks until it has ended. ``timeout`` seconds, negative for ever. NotModified."""
        ...

    def restart(self, ref: str, *, timeout: int | None = None, signal: str = "") -> None: ...

    def kill(self, ref: str, *, signal: str = "SIGKILL") -> None: ...

    def pause(self, ref: str) -> None: ...

    def unpause(self, ref: str) -> None: ...

    def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None: ...

    def rename(self, ref: str, name: str) -> None: ...

    def resize(self, ref: str, rows: int, columns: int) -> None: ...

    def get(self, ref: str) -> Container: ...

    def size(self, ref: str) -> ContainerSize: ...

    def list(
        self, *, running_only: bool, limit: int = 0, filters: Filters = NO_FILTERS
    ) -> tuple[Container, ...]:
        """Newest first."""
        ...

    def wait(
        self, ref: str, condition: Literal["not-running", "next-exit", "removed"] = "not-running"
    ) -> Future[WaitResult]:
        """The future is done from one of the engine's threads; cancel it to give up."""
        ...

    def attach(self, ref: str, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
        """A stream to the container, see ``runtime.api.Process.attach``.

        On a container that was created and not started yet the stream becomes live with its
        start and misses nothing; so it is on one that has ended and may be started again. Conflict
        if it is paused or about to be restarted.
        """
        ...

    def logs(self, ref: str) -> LogReader:
        """A reader of the log. NotSupported for the driver ``none``."""
        ...

    def top(self, ref: str, ps_args: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Titles and one row for each process. Conflict if it does not run."""
        ...

    def changes(self, ref: str) -> tuple[tuple[int, str], ...]:
        """Kind (0 modified, 1 added, 2 deleted) and path of what differs from the image."""
        ...

    def prune(self, filters: Filters = NO_FILTERS) -> PruneReport: ...

    def update(
        self, ref: str, wanted: HostConfig, changes: ContainerChanges = ...
    ) -> tuple[str, ...]:
        """Change limits (at once if it runs) and the restart policy; returns warnings. What is not
        given in ``wanted`` stays. InvalidArgument names a member that cannot be changed.

        ``changes``: published ports, at once, and mounts, for which a container that runs is
        stopped and started again (takes long)."""
        ...

    def stats(self, ref: str) -> StatsSample | None:
        """What it uses now; None if it does not run."""
        ...

    def log_details(self, ref: str) -> dict[str, str]:
        """The attributes that ``--log-opt labels`` and ``env`` ask for."""
        ...

    def detached(self, ref: str) -> None:
        """A client typed its detach keys: tell those who watch events."""
        ...


class FileApi(Protocol):
    """Files of containers, running or not. All take long. Paths are the container's; a path that
    leads nowhere is NotFound "Could not find the file PATH in container NAME"."""

    def stat(self, ref: str, path: str) -> PathStat: ...

    def get(
        self,
        ref: str,
        path: str,
        begin: Callable[[PathStat], None],
        output: Callable[[bytes], None],
    ) -> None:
        """Tell what is at ``path``, then write a tar of it. ``PATH/.`` is what is in it."""
        ...

    def put(
        self, ref: str, path: str, archive: Readable, *, keep_types: bool, container_user: bool
    ) -> None:
        """Unpack a tar, compressed or not, in the directory ``path``.

        ``keep_types`` refuses to replace a directory by something else or the reverse;
        ``container_user`` gives all to the container's user. PermissionDenied on what is
        read-only.
        """
        ...

    def export(self, ref: str, output: Callable[[bytes], None]) -> None:
        """Write a tar of the root file system, without what is mounted on it."""
        ...


class CommitApi(Protocol):
    """Images out of containers and archives. Both take long."""

    def commit(self, ref: str, options: CommitOptions) -> Digest:
        """An image of what a container changed; its id. The container is paused meanwhile."""
        ...

    def import_image(
        self,
        archive: BinaryIO | None,
        options: ImportOptions,
        progress: Callable[[ProgressLine], None],
    ) -> Digest:
        """An image with one layer: a tar, compressed or not. Without ``archive`` it is fetched."""
        ...


class ExecApi(Protocol):
    """``id`` unknown: NotFound "No such exec instance: ID"."""

    def create(self, ref: str, options: ExecOptions) -> str:
        """Conflict "container ID is not running"; InvalidArgument without a command."""
        ...

    def start(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, int] | None = None
    ) -> socket.socket | None:
        """The stream of an attached exec, None for a detached one. Conflict if it ran already."""
        ...

    def expect(self, exec_id: str) -> None:
        """Do now what can be done before the start, which usually follows at once. Short; tells of
        no failure, since the start will."""
        ...

    def begin(
        self,
        exec_id: str,
        *,
        console_size: tuple[int, int] | None = None,
        say: Callable[[WherryError], bytes],
    ) -> socket.socket | None:
        """The stream of an attached exec that is not waited for: should it not start, the stream
        has what ``say`` makes of the reason, and ends. None if it would take time even to ask for
        it: nothing was done, and :meth:`start` is to be called. Conflict if it ran already."""
        ...

    def listen_for_begun(self) -> Listening:
        """Asked once by an event loop that calls :meth:`begin`: it takes what is said of these
        execs itself, rather than that a thread does so at the same time."""
        ...

    def get(self, exec_id: str) -> Exec: ...

    def exited(self, exec_id: str) -> Future[int]:
        """Done with the exit code when :meth:`get` shows it. Whoever relays an exec's stream waits
        for it (bounded) before closing the client's connection, for clients ask for the exit code
        right after the end of the stream."""
        ...

    def resize(self, exec_id: str, rows: int, columns: int) -> None: ...

    def detached(self, exec_id: str) -> None:
        """A client typed its detach keys: tell those who watch events."""
        ...


class ImageApi(Protocol):
    """``name``: reference, id or prefix; NotFound "No such image: X:tag"."""

    def get(self, name: str) -> Image: ...

    def list(self, *, filters: Filters = NO_FILTERS) -> tuple[Image, ...]: ...

    def history(self, name: str) -> tuple[tuple[History, int], ...]:
        """Each step with its layer's size in bytes, newest first."""
        ...

    def tag(self, name: str, repository: str, tag: str) -> None: ...

    def remove(
        self, name: str, *, force: bool = False, prune: bool = True
    ) -> tuple[RemovedImage, ...]:
        """Conflict in Docker's words while a container uses it."""
        ...

    def prune(self, filters: Filters = NO_FILTERS) -> tuple[tuple[RemovedImage, ...], int]: ...

    def pull(
        self,
        reference: str,
        *,
        platform: str,
        credentials: Credentials | None,
        progress: Callable[[ProgressLine], None],
    ) -> Image:
        """Takes long."""
        ...

    def push(
        self,
        reference: str,
        *,
        credentials: Credentials | None,
        progress: Callable[[ProgressLine], None],
    ) -> None:
        """Takes long."""
        ...

    def describe(self, reference: str, credentials: Credentials | None) -> Described:
        """What a registry has under a name: without getting it. Takes long."""
        ...

    def login(self, credentials: Credentials) -> None:
        """See whether the registry ``server_address`` takes them; Unauthenticated. Takes long."""
        ...

    def save(self, names: Sequence[str], output: Callable[[bytes], None]) -> None:
        """Write images as an OCI layout with Docker's manifest.json, as one tar. Takes long."""
        ...

    def load(self, archive: BinaryIO, progress: Callable[[ProgressLine], None]) -> None:
        """Read what ``save`` (of this engine or Docker's) wrote. Takes long."""
        ...

    def bootstrap(self, name: str, *, progress: Callable[[ProgressLine], None]) -> Image:
        """Make a base image from the distribution's mirror. Takes long."""
        ...

    def bootstrap_names(self) -> tuple[tuple[str, str], ...]:
        """What can be bootstrapped: name and one line of description."""
        ...


class BuildApi(Protocol):
    def build(
        self,
        request: BuildRequest,
        context: ContextStream,
        progress: Progress,
        cancelled: Cancel,
    ) -> BuildResult:
        """Build an image from a tar stream of its context. Takes long. Errors as for
        ``Builder.build``."""
        ...

    def cache(self) -> tuple[CacheUse, ...]:
        """What the build cache holds."""
        ...

    def prune(
        self, *, every: bool = False, keep: int = 0, filters: Filters = NO_FILTERS
    ) -> PruneReport:
        """Forget cached steps that no image needs (``every``: all), but for the ``keep`` bytes that
        were used last, and cache mounts that no build uses. Takes long."""
        ...


class EngineApi(Protocol):
    @property
    def containers(self) -> ContainerApi: ...

    @property
    def execs(self) -> ExecApi: ...

    @property
    def files(self) -> FileApi: ...

    @property
    def commits(self) -> CommitApi: ...

    @property
    def images(self) -> ImageApi: ...

    @property
    def image_store(self) -> Images: ...

    @property
    def networks(self) -> Networks: ...

    @property
    def attachments(self) -> AttachmentApi: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def volume_backups(self) -> VolumeBackupApi: ...

    @property
    def events(self) -> EventApi: ...

    @property
    def system(self) -> SystemApi: ...

    @property
    def builds(self) -> BuildApi: ...
