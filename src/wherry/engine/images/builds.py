"""What a build needs of the engine: base images, and containers for its RUN steps."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from socket import socket, socketpair
from typing import TYPE_CHECKING, Literal

import msgspec

from wherry.build.api import (
    BuildCancelled,
    BuildRequest,
    BuildResult,
    Cancel,
    ContextStream,
    Output,
    Progress,
    PullStatus,
    RunStep,
    StepOutcome,
)
from wherry.engine.api import NO_FILTERS, CacheUse, Filters, PruneReport
from wherry.engine.containers.launch import Launcher
from wherry.engine.events import Events
from wherry.engine.filters import as_bool, as_time, check_names, labels_match
from wherry.engine.images.registries import Registries
from wherry.engine.networks.requests import requested_networks
from wherry.engine.records import Container, Credentials, MountPoint
from wherry.engine.settings import EngineSettings
from wherry.engine.table import PendingAttach
from wherry.errors import Conflict, InvalidArgument, NotFound
from wherry.model.container import MountRequest, NetworkingConfig
from wherry.model.decoding import decoded
from wherry.model.digest import Digest
from wherry.model.image import Platform
from wherry.model.malformed import MALFORMED
from wherry.model.reference import parse_reference
from wherry.runtime.api import CommandNotExecutable, CommandNotFound, ExitStatus
from wherry.store.api import Image, Images

if TYPE_CHECKING:
    from wherry.build.builder import Builder
    from wherry.build.cache import Known

_HEADER = 8
_PRUNE_FILTERS = ("until", "id", "inuse", "shared", "private", "label", "label!")
_SIGKILL = 9
_NO_IMAGE = Digest("sha256:" + "0" * 64)


class ContainerSteps:
    """Implements ``build.api.StepRunner``: each RUN step is a container that leaves no record."""

    def __init__(self, settings: EngineSettings, launcher: Launcher) -> None:
        self._settings = settings
        self._launcher = launcher

    def run(self, step: RunStep, output: Output, cancel: Cancel) -> StepOutcome:
        record = self._record(step)
        directory = self._settings.container_dir(step.id)
        os.makedirs(directory, mode=0o710)
        try:
            return self._run(step, record, output, cancel)
        except (CommandNotFound, CommandNotExecutable) as error:
            output("stderr", f"{error}\n".encode())
            return StepOutcome(exit_code=127 if isinstance(error, CommandNotFound) else 126)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            self._launcher.forget(step.id)

    def _record(self, step: RunStep) -> Container:
        args = step.config.cmd or ()
        if not args:
            raise InvalidArgument("a RUN step needs a command")
        return Container(
            id=step.id,
            name=f"build-{step.id[:12]}",
            created_ns=time.time_ns(),
            image_id=_NO_IMAGE,
            image_name="",
            config=step.config,
            host=step.host,
            networking=requested_networks(step.host, NetworkingConfig()),
            path=args[0],
            args=tuple(args[1:]),
            mounts=tuple(_mount_point(mount) for mount in step.host.mounts or ()),
            log_driver="none",
            host_ca=step.host_ca or self._settings.host_ca,
        )

    def _run(self, step: RunStep, record: Container, output: Output, cancel: Cancel) -> StepOutcome:
        ours, theirs = socketpair()
        with ours:
            attach = PendingAttach(theirs, stdin=False, stdout=True, stderr=True)
            launched = self._launcher.launch(record, attach, snapshot=step.snapshot)
            exited: Future[ExitStatus] = Future()
            launched.process.on_exit(exited.set_result)
            kill = lambda: _kill(launched.process.signal)  # noqa: E731
            try:
                _relay(ours, output, cancel, kill)
                status = exited.result()
            finally:
                launched.process.close()
                ended = msgspec.structs.replace(record, endpoints=launched.endpoints)
                self._launcher.release(ended)
        if cancel.is_set():
            raise BuildCancelled("the build was cancelled")
        return StepOutcome(
            exit_code=status.code,
            created_mountpoints=launched.process.created_mountpoints,
            oom_killed=status.oom_killed,
        )


def _kill(signal: Callable[[int], None]) -> None:
    with suppress(Conflict):
        signal(_SIGKILL)


def _mount_point(request: MountRequest) -> MountPoint:
    if request.type not in ("bind", "tmpfs"):
        raise InvalidArgument(f"a RUN step cannot have a mount of type {request.type!r}")
    kind: Literal["bind", "tmpfs"] = "bind" if request.type == "bind" else "tmpfs"
    return MountPoint(
        type=kind,
        source=request.source,
        destination=request.target,
        rw=not request.read_only,
        propagation="rprivate" if kind == "bind" else "",
        tmpfs=request.tmpfs_options,
    )


_POLL_SECONDS = 0.2
"""How soon a cancelled build is noticed while its step prints nothing."""


def _relay(stream: socket, output: Output, cancel: Cancel, kill: Callable[[], None]) -> None:
    """Deliver framed output until the step ends; kill the step once when cancelled."""
    buffer = bytearray()
    killed = False
    stream.settimeout(_POLL_SECONDS)
    while True:
        if cancel.is_set() and not killed:
            kill()
            killed = True
        try:
            data = stream.recv(65536)
        except TimeoutError:
            continue
        if not data:
            return
        buffer += data
        _deliver_frames(buffer, output)


def _deliver_frames(buffer: bytearray, output: Output) -> None:
    """Take whole frames off the front of ``buffer``."""
    while len(buffer) >= _HEADER:
        end = _HEADER + int.from_bytes(buffer[4:_HEADER], "big")
        if len(buffer) < end:
            return
        output("stderr" if buffer[0] == 2 else "stdout", bytes(buffer[_HEADER:end]))
        del buffer[:end]


class Builds:
    """Implements ``engine.api.BuildApi``."""

    def __init__(
        self,
        settings: EngineSettings,
        builder: Callable[[], Builder],
        images: Images,
        events: Events,
    ) -> None:
        self._settings = settings
        self._builder = builder
        self._images = images
        self._events = events

    def _has(self, name: str) -> bool:
        try:
            self._images.get(name)
        except (NotFound, InvalidArgument):
            return False
        return True

    def cache(self) -> tuple[CacheUse, ...]:
        in_images = self._layers_of_images()
        return tuple(_cache_use(step, in_images) for step in self._builder().cached())

    def _layers_of_images(self) -> set[Digest]:
        return {layer.chain_id for image in self._images.list() for layer in image.layers}

    def prune(
        self, *, every: bool = False, keep: int = 0, filters: Filters = NO_FILTERS
    ) -> PruneReport:
        chosen = _chooser(filters)
        in_images = self._layers_of_images()
        doomed: list[Known] = []
        kept = 0
        for step in self._builder().cached():
            size = step.layer.size if step.layer else 0
            is_shared = step.layer is not None and step.layer.chain_id in in_images
            if kept + size <= keep or not chosen(step, is_shared) or (is_shared and not every):
                kept += size
            else:
                doomed.append(step)
        self._builder().prune([step.key for step in doomed])
        sizes = {step.layer.chain_id: step.layer.size for step in doomed if step.layer}
        reclaimed = sum(sizes.get(chain_id, 0) for chain_id in self._images.collect_garbage())
        self._events.pruned("builder", reclaimed)
        return PruneReport(removed=tuple(_step_id(step) for step in doomed), reclaimed=reclaimed)

    def build(
        self,
        request: BuildRequest,
        context: ContextStream,
        progress: Progress,
        cancelled: Cancel,
    ) -> BuildResult:
        """Build an image from a tar stream of its context. Takes long."""
        host_ca = request.host_ca or self._settings.host_ca
        proxies = self._settings.proxy_env if host_ca else {}
        request = msgspec.structs.replace(
            request, host_ca=host_ca, proxy_env={**proxies, **request.proxy_env}
        )
        if request.cache_from and not any(map(self._has, request.cache_from)):
            # Docker then takes nothing from its own cache either.
            request = msgspec.structs.replace(request, no_cache=True)
        result = self._builder().build(request, context, progress, cancelled)
        for tag in result.tags:
            labels = self._images.get(result.image).config.config.labels or {}
            self._events.emit("image", "tag", result.image, {**labels, "name": tag})
        return result


def _step_id(step: Known) -> str:
    return step.key.hex()


def _chooser(filters: Filters) -> Callable[[Known, bool], bool]:
    """Whether the filters mean a step, which images share or not. No step is ever in use: layers
    are made of it, and builds hold those. None has labels, but ``system prune`` of the docker
    command asks for them here as well. InvalidArgument."""
    check_names(filters, _PRUNE_FILTERS)
    limits = [as_time(value, time.time_ns()) for value in filters.get("until", ())]
    ids = filters.get("id", ())
    flags = {n: as_bool(n, v) for n, v in filters.items() if n in ("inuse", "shared", "private")}

    def chosen(step: Known, shared: bool) -> bool:
        facts = {"inuse": False, "shared": shared, "private": not shared}
        return (
            all(step.used_ns < limit for limit in limits)
            and labels_match(filters.get("label", ()), None)
            and (not ids or any(_step_id(step).startswith(value) for value in ids))
            and all(facts[name] == value for name, value in flags.items())
        )

    return chosen


def _cache_use(step: Known, in_images: set[Digest]) -> CacheUse:
    return CacheUse(
        id=_step_id(step),
        size=step.layer.size if step.layer else 0,
        created_ns=step.created_ns,
        used_ns=step.used_ns,
        shared=step.layer is not None and step.layer.chain_id in in_images,
    )


class BaseImages:
    """Implements ``build.api.ImageResolver``: what is here, or what a registry has."""

    def __init__(self, images: Images, registries: Registries) -> None:
        self._images = images
        self._registries = registries

    def resolve(
        self,
        reference: str,
        *,
        platform: Platform | None,
        pull: bool,
        registry_config: bytes,
        progress: Progress,
    ) -> Image:
        if not pull:
            found = self._local(reference, platform)
            if found:
                return found
        credentials = credentials_for(reference, registry_config)
        return self._registries.pull(
            reference,
            platform=str(platform) if platform else "",
            credentials=credentials,
            progress=lambda line: progress(_pull_status(line)),
        )

    def _local(self, reference: str, platform: Platform | None) -> Image | None:
        try:
            image = self._images.get(reference)
        except NotFound:
            return None
        have = image.config.platform
        fits = platform is None or (platform.os, platform.architecture) == (
            have.os,
            have.architecture,
        )
        return image if fits else None


def _pull_status(line: dict[str, object]) -> PullStatus:
    detail = line.get("progressDetail")
    numbers = detail if isinstance(detail, dict) else {}
    return PullStatus(
        status=str(line.get("status", "")),
        id=str(line.get("id", "")),
        current=int(numbers.get("current", 0)),
        total=int(numbers.get("total", 0)),
    )


class _RegistryLogin(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""
    serveraddress: str = ""


def credentials_for(reference: str, registry_config: bytes) -> Credentials | None:
    """The login for an image's registry in a decoded ``X-Registry-Config``."""
    if not registry_config:
        return None
    try:
        logins = decoded(registry_config, dict[str, _RegistryLogin])
    except MALFORMED as error:
        raise InvalidArgument(f"invalid X-Registry-Config header: {error}") from None
    domain = parse_reference(reference).domain
    # The Hub's logins are kept under its oldest address.
    key = "https://index.docker.io/v1/" if domain == "docker.io" else domain
    login = logins.get(key) or logins.get(domain) or logins.get(f"https://{domain}")
    if login is None:
        return None
    return Credentials(
        username=login.username,
        password=login.password,
        identity_token=login.identitytoken,
        registry_token=login.registrytoken,
        server_address=login.serveraddress,
    )
