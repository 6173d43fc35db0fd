"""Making a container: checks, name, writable layer, mounts, record."""

from __future__ import annotations

import os
import posixpath
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack

import msgspec

from wherry.engine.api import Created
from wherry.engine.containers.groups import check_parent
from wherry.engine.containers.health import check_healthcheck
from wherry.engine.containers.restart import check_policy
from wherry.engine.containers.runtimes import check_runtime
from wherry.engine.events import Events
from wherry.engine.host.user_namespaces import check_users, users_of
from wherry.engine.ids import new_id
from wherry.engine.logs.options import check_log_config, with_defaults
from wherry.engine.mounts.making import MountMaker
from wherry.engine.mounts.planning import confined, plan_mounts
from wherry.engine.networks.ports import port_requests
from wherry.engine.networks.requests import named_networks, parse_link, requested_networks
from wherry.engine.records import Container, MountPoint
from wherry.engine.settings import EngineSettings
from wherry.engine.signals import parse_signal
from wherry.engine.spec import check_supported, merge_config
from wherry.engine.table import ContainerTable
from wherry.errors import InvalidArgument, NotFound
from wherry.model.container import ContainerConfig, HostConfig, LogConfig, NetworkingConfig
from wherry.model.image import Platform
from wherry.network.api import Networks
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Image, Images
from wherry.sys.faults import reach
from wherry.volume.api import Volumes

_MARK = "/.dockerenv"
_JOINED = "container:"


class Creator:
    """Makes containers; after an error nothing of one is left."""

    def __init__(
        self,
        settings: EngineSettings,
        table: ContainerTable,
        images: Images,
        snapshots: Snapshotter,
        volumes: Volumes,
        networks: Networks,
        events: Events,
    ) -> None:
        self._settings = settings
        self._table = table
        self._images = images
        self._snapshots = snapshots
        self._volumes = volumes
        self._networks = networks
        self._events = events
        self._mounts = MountMaker(volumes, images, snapshots)

    def create(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str,
        host_ca: bool | None,
        places: Mapping[str, str],
    ) -> Created:
        image = self._image(config.image, platform)
        host = with_defaults(host, self._settings.log_driver, self._settings.log_options)
        check_healthcheck(config.healthcheck)
        merged = merge_config(config, image.config.config)
        warnings = self._check(merged, host, networking)
        args = (*(merged.entrypoint or ()), *(merged.cmd or ()))
        if not args:
            raise InvalidArgument("no command specified")
        networks = named_networks(self._networks, requested_networks(host, networking), host)
        plan = confined(plan_mounts(merged, host, self._mounts_of), places)
        container_id = new_id()
        with ExitStack() as undo:
            taken = self._table.reserve_name(name, container_id)
            undo.callback(self._table.release_name, taken, container_id)
            reach("create.named")
            self._snapshots.prepare(container_id, image.chain_id)
            undo.callback(self._snapshots.remove, container_id)
            self._mark(container_id)
            undo.callback(self._volumes.release, container_id)
            reach("create.prepared")
            mounts = self._mounts.make(plan, container_id, users_of(self._settings, host))
            self._mounts.fill(container_id, mounts)
            reach("create.mounted")
            undo.callback(shutil.rmtree, self._settings.container_dir(container_id), True)
            os.makedirs(self._settings.container_dir(container_id), mode=0o710)
            reach("create.directory")
            record = Container(
                id=container_id,
                name=taken,
                created_ns=time.time_ns(),
                image_id=image.id,
                image_name=config.image,
                config=merged,
                host=_with_defaults(host, self._settings.default_runtime),
                networking=networks,
                path=args[0],
                args=tuple(args[1:]),
                mounts=mounts,
                created_mountpoints=(_MARK,),
                log_driver=host.log_config.type,
                log_path=self._log_path(container_id, host.log_config),
                host_ca=self._settings.host_ca if host_ca is None else host_ca,
            )
            self._table.add(record)
            undo.pop_all()
            reach("create.recorded")
        self._events.container("create", record)
        return Created(id=container_id, warnings=warnings)

    def _mark(self, container_id: str) -> None:
        """Make the empty file by which programs see that they are in a container. As all that was
        made for mounts, it is no change of the container's own."""
        path = self._snapshots.changes_dir(container_id) + _MARK
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o755))

    def _image(self, name: str, platform: str) -> Image:
        if not name:
            raise InvalidArgument("no image specified: give the name of an image to run")
        image = self._images.get(name)
        if platform and not _platform_fits(platform, image.config.platform):
            raise NotFound(
                f"image with reference {name} was found but its platform "
                f"({image.config.platform}) does not match the specified platform ({platform})"
            )
        return image

    def _check(
        self, config: ContainerConfig, host: HostConfig, networking: NetworkingConfig
    ) -> tuple[str, ...]:
        check_policy(host.restart_policy, host.auto_remove)
        check_log_config(host.log_config)
        check_runtime(self._settings, host.runtime or "")
        check_users(self._settings, host)
        port_requests(config, host)
        self._check_links(host)
        self._check_joined(host)
        parse_signal(config.stop_signal or "")
        check_parent(self._settings, host.cgroup_parent)
        if config.working_dir and not posixpath.isabs(config.working_dir):
            raise InvalidArgument(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an "
                "absolute path"
            )
        return tuple(check_supported(config, host))

    def _check_links(self, host: HostConfig) -> None:
        """Docker's status is that of a wrong request, whatever the container lacks."""
        for text in host.links or ():
            name, _ = parse_link(text)
            try:
                self._table.find(name)
            except NotFound as error:
                raise InvalidArgument(f"could not get container for {name}: {error}") from None

    def _check_joined(self, host: HostConfig) -> None:
        """Docker looks for those whose namespaces are joined when a container is made, but for a
        network's, which it looks for when the container starts."""
        if host.network_mode == _JOINED:
            raise InvalidArgument(
                "invalid network mode: invalid container format container:<name|id>"
            )
        for mode in (host.ipc_mode, host.pid_mode):
            if mode.startswith(_JOINED):
                self._other(mode.removeprefix(_JOINED))

    def _mounts_of(self, ref: str) -> tuple[MountPoint, ...]:
        return self._other(ref).mounts

    def _other(self, ref: str) -> Container:
        try:
            return self._table.find(ref).record
        except NotFound as error:  # Docker's status is that of a wrong request
            raise InvalidArgument(str(error)) from None

    def _log_path(self, container_id: str, log: LogConfig) -> str:
        name = f"{container_id}-json.log" if log.type == "json-file" else "container.log"
        return os.path.join(self._settings.container_dir(container_id), name)


def _with_defaults(host: HostConfig, runtime: str) -> HostConfig:
    """The host part as inspect shows it: defaults that were chosen here are named."""
    return msgspec.structs.replace(
        host,
        network_mode=host.network_mode or "default",
        runtime=host.runtime or runtime,
        shm_size=host.shm_size or 64 * 1024 * 1024,
        ipc_mode=host.ipc_mode or "private",
        cgroupns_mode=host.cgroupns_mode or ("host" if host.privileged else "private"),
    )


def _platform_fits(wanted: str, have: Platform) -> bool:
    # Imported here, since few containers are made with --platform and the client is not small.
    from wherry.registry.client import parse_platform

    parsed = parse_platform(wanted)
    same_variant = not have.variant or parsed.variant == have.variant
    return same_variant and (parsed.os, parsed.architecture) == (have.os, have.architecture)
