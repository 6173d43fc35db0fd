"""Puts the engine together: the only place that knows the implementations behind the seams.

The order is that of the layers, from the database up. What has an end is registered as it is made,
so that a failure half way, or the engine's own end, closes all of it in the opposite order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from wherry.cgroup import open_cgroups
from wherry.cgroup.api import Cgroups
from wherry.daemon.kernel import check_kernel, check_users
from wherry.engine.containers.bundle import BundleMaker
from wherry.engine.containers.creation import Creator
from wherry.engine.containers.execs import Execs
from wherry.engine.containers.health import HealthMonitor
from wherry.engine.containers.launch import Launcher
from wherry.engine.containers.lifecycle import Lifecycle
from wherry.engine.containers.reconcile import reconcile
from wherry.engine.containers.restart import Timers
from wherry.engine.containers.service import Containers
from wherry.engine.engine import Engine
from wherry.engine.events import Events
from wherry.engine.files.copying import ContainerFiles
from wherry.engine.files.trees import ContainerTrees
from wherry.engine.host.system import System
from wherry.engine.host.user_namespaces import UserNamespaces
from wherry.engine.images.archives import ImageArchives
from wherry.engine.images.builds import BaseImages, Builds, ContainerSteps
from wherry.engine.images.commits import ImageMaker
from wherry.engine.images.registries import Registries
from wherry.engine.images.service import ImageService
from wherry.engine.lazy import Lazy
from wherry.engine.mounts.backups import VolumeBackups
from wherry.engine.mounts.sources import MountSources
from wherry.engine.networks.attachments import Attachments
from wherry.engine.networks.name_files import NameFileWriter
from wherry.engine.networks.name_service import NameService
from wherry.engine.networks.networking import Networking
from wherry.engine.networks.port_changes import PortChanger
from wherry.engine.settings import EngineSettings
from wherry.engine.table import ContainerTable
from wherry.engine.workers import Workers
from wherry.fs.spread import spread_directories
from wherry.network.bridge import BridgeNetworks
from wherry.network.config import NetworkDefaults
from wherry.network.resolver.client import ResolverClient
from wherry.registry.api import RegistrySettings
from wherry.runtime.client import LauncherRuntime
from wherry.snapshot.mounting import check_overlay
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.blobs import BlobStore
from wherry.store.database import Database
from wherry.store.images import ImageStore
from wherry.volume.local import LocalVolumes

if TYPE_CHECKING:  # imported with their first use: together they double the engine's start
    from wherry.bootstrap import Bootstrapper
    from wherry.build.builder import Builder

_EXIT_WORKERS = 4


class _Host(msgspec.Struct, frozen=True):
    """What stands below the engine's own services."""

    db: Database
    runtime: LauncherRuntime
    cgroups: Cgroups
    networks: BridgeNetworks
    resolver: ResolverClient
    snapshots: OverlaySnapshotter
    blobs: BlobStore
    images: ImageStore
    volumes: LocalVolumes


def open_engine(settings: EngineSettings) -> Engine:
    """The engine over its data root, with what an earlier one left taken up.

    The caller holds the locks of both roots. NotSupported if the machine lacks something.
    """
    with ExitStack() as undo:
        for directory in (settings.data_root, settings.exec_root):
            os.makedirs(directory, mode=0o711, exist_ok=True)
        check_kernel()
        check_users(settings.users)
        check_overlay(settings.data_root)
        _make_spread(settings)
        host = _open_host(settings, undo)
        return _assemble(settings, host, undo)


def _make_spread(settings: EngineSettings) -> None:
    """Make what containers' directories come and go in: each on its own part of the disk."""
    places = {
        os.path.join(settings.data_root, "snapshots"): 0o711,
        settings.container_dir(""): 0o710,
        settings.runtime_dir(""): 0o711,
    }
    for directory, mode in places.items():
        os.makedirs(directory, mode=mode, exist_ok=True)
        spread_directories(directory)


def _open_host(settings: EngineSettings, undo: ExitStack) -> _Host:
    def below(name: str) -> str:
        return os.path.join(settings.data_root, name)

    # The launcher first: it is forked from a process that is still small.
    runtime = LauncherRuntime(settings.exec_root)
    undo.callback(runtime.close)
    db = Database(below("wherry.db"))
    undo.callback(db.close)
    blobs = BlobStore(below("blobs"))
    snapshots = OverlaySnapshotter(below("snapshots"), db)
    undo.callback(snapshots.close)
    networks = BridgeNetworks(
        db,
        settings.instance,
        NetworkDefaults(
            mtu=settings.mtu,
            bridge_address=settings.bip,
            accept_forward=settings.accept_forward,
        ),
    )
    undo.callback(networks.close)
    resolver = ResolverClient(settings.exec_root)
    undo.callback(resolver.close)
    return _Host(
        db=db,
        runtime=runtime,
        cgroups=_cgroups(settings),
        networks=networks,
        resolver=resolver,
        snapshots=snapshots,
        blobs=blobs,
        images=ImageStore(db, blobs, snapshots),
        volumes=LocalVolumes(below("volumes"), db),
    )


def _cgroups(settings: EngineSettings) -> Cgroups:
    if not settings.systemd_cgroups:
        return open_cgroups()
    from wherry.cgroup.systemd import SystemdCgroups  # few ask for it

    return SystemdCgroups(open_cgroups())


def _assemble(settings: EngineSettings, host: _Host, undo: ExitStack) -> Engine:
    if not (settings.cgroup_parent or settings.systemd_cgroups):
        undo.callback(host.cgroups.remove_if_empty, settings.cgroup_root)
    table = ContainerTable(host.db)
    table.load()
    events = Events()
    host.volumes.tell = partial(_tell_of_volume, events)
    timers = Timers()
    undo.callback(timers.close)
    workers = Workers(_EXIT_WORKERS, "exits")
    undo.callback(workers.close)
    side = _network_side(settings, host, table, events)
    launcher = _launcher(settings, host, table, side, events)
    execs = Execs(settings, table, host.runtime, events)
    health = HealthMonitor(table, execs, events, timers)
    undo.callback(health.close)
    lifecycle = Lifecycle(table, launcher, host.cgroups, events, workers, timers)
    lifecycle.after_start, lifecycle.after_exit = health.begin, health.end
    containers = _containers(settings, host, table, lifecycle, launcher, events)
    containers.updater.change_ports = PortChanger(table, side.networking).change_ports
    containers.finish_removals()
    reconcile(
        settings,
        table,
        host.runtime,
        lifecycle,
        launcher,
        host.networks,
        host.snapshots,
        host.volumes,
    )
    commits = ImageMaker(settings, table, lifecycle, host.images, events)
    attachments = Attachments(table, host.networks, side.networking, side.names, side.files, events)
    backups = VolumeBackups(host.volumes, table, lifecycle, events)
    return _services(
        settings,
        host,
        table,
        launcher,
        containers,
        attachments,
        execs,
        commits,
        backups,
        events,
        undo,
    )


class _NetworkSide(msgspec.Struct, frozen=True):
    """What containers have of networks."""

    names: NameService
    files: NameFileWriter
    networking: Networking


def _network_side(
    settings: EngineSettings, host: _Host, table: ContainerTable, events: Events
) -> _NetworkSide:
    gateway = host.networks.get("bridge").subnets[0].gateway
    names = NameService(settings, host.resolver)
    return _NetworkSide(
        names=names,
        files=NameFileWriter(settings, table, gateway),
        networking=Networking(host.networks, table, names, events, UserNamespaces(settings, table)),
    )


def _launcher(
    settings: EngineSettings,
    host: _Host,
    table: ContainerTable,
    side: _NetworkSide,
    events: Events,
) -> Launcher:
    bundles = BundleMaker(settings, host.snapshots, side.files, table)
    return Launcher(
        settings,
        host.runtime,
        host.cgroups,
        host.snapshots,
        side.networking,
        bundles,
        _sources(host, events),
    )


def _sources(host: _Host, events: Events) -> MountSources:
    return MountSources(host.volumes, host.images, host.snapshots, events)


def _tell_of_volume(events: Events, action: str, name: str) -> None:
    events.emit("volume", action, name, {"driver": "local"})


def _containers(
    settings: EngineSettings,
    host: _Host,
    table: ContainerTable,
    lifecycle: Lifecycle,
    launcher: Launcher,
    events: Events,
) -> Containers:
    creator = Creator(
        settings, table, host.images, host.snapshots, host.volumes, host.networks, events
    )
    return Containers(
        settings,
        table,
        creator,
        lifecycle,
        launcher,
        host.images,
        host.snapshots,
        host.volumes,
        events,
    )


def _services(
    settings: EngineSettings,
    host: _Host,
    table: ContainerTable,
    launcher: Launcher,
    containers: Containers,
    attachments: Attachments,
    execs: Execs,
    commits: ImageMaker,
    backups: VolumeBackups,
    events: Events,
    undo: ExitStack,
) -> Engine:
    registries = Registries(_registry_settings(settings), host.images, host.blobs, events)
    steps = ContainerSteps(settings, launcher)
    builder = Lazy(lambda: _builder(settings, host, steps, registries))
    if _build_was_interrupted(settings):
        builder()  # it clears away what was left
    images = ImageService(
        store=host.images,
        containers=table,
        events=events,
        registries=registries,
        archives=ImageArchives(host.images, host.blobs),
        bootstrapper=Lazy(lambda: _bootstrapper(settings, host, steps)),
    )
    close: Callable[[], None] = undo.pop_all().close
    return Engine(
        containers=containers,
        execs=execs,
        files=ContainerFiles(
            table,
            ContainerTrees(settings, table, launcher, host.snapshots, _sources(host, events)),
            events,
        ),
        commits=commits,
        images=images,
        image_store=host.images,
        networks=host.networks,
        attachments=attachments,
        volumes=host.volumes,
        volume_backups=backups,
        events=events,
        system=System(settings, host.db, table, host.images, host.cgroups, events),
        builds=Builds(settings, builder, host.images, events),
        close=close,
    )


def _builder(
    settings: EngineSettings, host: _Host, steps: ContainerSteps, registries: Registries
) -> Builder:
    from wherry.build.builder import Builder

    return Builder(
        host.images,
        host.snapshots,
        host.db,
        steps,
        BaseImages(host.images, registries),
        directory=_build_directory(settings),
    )


def _build_was_interrupted(settings: EngineSettings) -> bool:
    """A build has a directory in ``work`` from its beginning to its end."""
    try:
        return bool(os.listdir(os.path.join(_build_directory(settings), "work")))
    except FileNotFoundError:
        return False


def _build_directory(settings: EngineSettings) -> str:
    return os.path.join(settings.data_root, "build")


def _bootstrapper(settings: EngineSettings, host: _Host, steps: ContainerSteps) -> Bootstrapper:
    from wherry.bootstrap import Bootstrapper

    return Bootstrapper(host.images, host.snapshots, steps, environment=settings.proxy_env)


def _registry_settings(settings: EngineSettings) -> RegistrySettings:
    proxies = settings.proxy_env
    return RegistrySettings(
        insecure=settings.insecure_registries,
        mirrors=settings.registry_mirrors,
        ca_bundle=settings.host_ca_bundle,
        http_proxy=proxies.get("http_proxy", ""),
        https_proxy=proxies.get("https_proxy", ""),
        no_proxy=proxies.get("no_proxy", ""),
    )
