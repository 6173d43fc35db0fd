"""The seam between the builder and those who use it or work for it.

The engine gives the builder a :class:`StepRunner`, which executes one RUN step with the real
runtime, and an :class:`ImageResolver`, which finds or pulls base images. It calls
``Builder.build(request, context, progress)`` in a thread and turns the typed events that arrive
at ``progress`` into whatever its client reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from wherry.errors import Conflict, InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, Ulimit
from wherry.model.digest import Digest
from wherry.model.image import Platform
from wherry.store.api import Image

Output = Callable[[Literal["stdout", "stderr"], bytes], None]
"""Takes what a step prints, as it comes; from any one thread at a time."""


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One build, as asked: a typed field for each parameter of ``POST /build`` (Engine API v1.51).

    A field that Wherry cannot honour is refused by name in ``Builder.build``. Sizes are bytes.
    """

    dockerfile: str = "Dockerfile"
    tags: tuple[str, ...] = ()  # t
    remote: str = ""
    quiet: bool = False  # q; the events are the same, the caller prints fewer
    no_cache: bool = False
    cache_from: tuple[str, ...] = ()
    pull: bool = False
    remove: bool = True  # rm; nothing stays of a step's container in any case
    force_remove: bool = False
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cpu_period: int = 0
    cpu_quota: int = 0
    cgroup_parent: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    build_args: dict[str, str | None] = {}
    shm_size: int = 0
    squash: bool = False
    labels: dict[str, str] = {}
    network_mode: str = ""  # "" and "default" are the default bridge; none; host; a network
    extra_hosts: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    platform: str = ""
    target: str = ""
    outputs: str = ""
    version: str = "1"
    isolation: str = ""
    registry_config: bytes = b""
    """The decoded ``X-Registry-Config`` (JSON), handed to the resolver untouched."""

    # Wherry's own
    host_ca: bool = False
    """Show the host's certificate authorities to RUN steps; leaves no trace in the image."""
    proxy_env: dict[str, str] = {}
    """The engine's proxy variables, seen by RUN steps; not in the image, history or cache key."""
    secrets: dict[str, bytes] = {}
    """Content of ``RUN --mount=type=secret`` by id."""

    # What whoever asks for the build may do
    check_base: Callable[[str], None] | None = None
    """Raises for the name of an image that must not be built on or copied from."""
    allow_fetch: bool = True
    """Whether ADD may make the engine ask other machines."""
    cache_scope: str = ""
    """Cache mounts are shared among builds of the same scope only."""


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    image: Digest
    tags: tuple[str, ...] = ()  # familiar names
    warnings: tuple[str, ...] = ()


class StepFailed(InvalidArgument):
    """A RUN step ended with a code other than 0 (Docker's ``errorDetail.code``)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class BuildCancelled(Conflict):
    """The client went away, or the engine is stopping."""


class CopyFailed(InvalidArgument):
    """COPY or ADD cannot do what was asked; Docker's ``COPY failed: ...``."""


class Cancel(Protocol):
    """Says whether to stop; a ``threading.Event`` is one."""

    def is_set(self) -> bool: ...


class ContextStream(Protocol):
    """Where the context comes from: a tar archive, compressed or not, or one Dockerfile."""

    def read(self, size: int = -1, /) -> bytes: ...


# --- what the engine implements ---------------------------------------------------------------


class RunStep(msgspec.Struct, frozen=True, kw_only=True):
    """One RUN: a container whose root is the active snapshot ``snapshot``, mounted writable.

    ``config`` holds args (``cmd``, never a shell string), the complete environment (proxy
    variables included), user, working directory (made if it is missing) and hostname. ``host`` has
    network mode, limits, ``extra_hosts``, ``shm_size``, ulimits and ``mounts`` (binds of absolute
    host paths and tmpfs only; ``target`` may be missing in the image). With ``host_ca`` the
    runner makes the host's CA bundle and its variables visible, read-only.
    """

    id: str  # 64 hex digits, fresh for each step
    snapshot: str
    config: ContainerConfig
    host: HostConfig
    host_ca: bool = False


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """``created_mountpoints``: absolute paths that were made to mount something on."""

    exit_code: int
    created_mountpoints: tuple[str, ...] = ()
    oom_killed: bool = False


class StepRunner(Protocol):
    """Runs steps. Safe to call from several threads."""

    def run(self, step: RunStep, output: Output, cancel: Cancel) -> StepOutcome:
        """Run to the end, deliver all output, leave nothing but changes in the snapshot.

        Asks ``cancel`` a few times a second; once it is set, kills the step and raises
        BuildCancelled. A command that does not exist or cannot be executed is code 127 or 126,
        with its sentence in the output.
        """
        ...


class ImageResolver(Protocol):
    """Finds images for FROM and ``--from``."""

    def resolve(
        self,
        reference: str,
        *,
        platform: Platform | None,
        pull: bool,
        registry_config: bytes,
        progress: Progress,
    ) -> Image:
        """The local image, or the pulled one if it is absent or ``pull`` is set.

        ``platform`` None means this machine's. NotFound with Docker's words; InvalidArgument.
        May report PullStatus events.
        """
        ...


# --- events -----------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that happened in a build. ``wherry.build.progress`` has Docker's words for it."""


class StepStarted(Event, frozen=True):
    number: int  # from 1
    total: int
    text: str  # the instruction in one line


class TriggersStarted(Event, frozen=True):
    """The base image's ONBUILD instructions follow."""

    count: int


class StepCached(Event, frozen=True):
    """The step before is taken from the cache."""


class StepRunning(Event, frozen=True):
    container: str  # 64 hex digits


class StepRemoved(Event, frozen=True):
    container: str


class StepDone(Event, frozen=True):
    image: Digest  # of the configuration after the step


class StepOutput(Event, frozen=True):
    stream: Literal["stdout", "stderr"]
    data: bytes


class PullStatus(Event, frozen=True):
    """One line of a pull: ``id`` is a layer's short digest or a tag; sizes are bytes."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


class BuildWarning(Event, frozen=True):
    text: str


class BuildDone(Event, frozen=True):
    image: Digest


class BuildTagged(Event, frozen=True):
    name: str  # familiar


class Progress(Protocol):
    """Takes events in order, from the thread of the build."""

    def __call__(self, event: Event, /) -> None: ...
