"""The bundle of one start: ``config.json`` of the runtime specification and what it refers to."""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec

from wherry.engine.containers.groups import asked_group
from wherry.engine.containers.hostca import BUNDLE_IN_CONTAINER, ca_environment
from wherry.engine.containers.joining import joined_namespaces
from wherry.engine.host.apparmor import has_default, shown
from wherry.engine.host.selinux import labels_of, relabel_mounts
from wherry.engine.host.user_namespaces import users_of
from wherry.engine.networks.legacy_links import legacy_links, link_environment
from wherry.engine.networks.name_files import NameFileWriter
from wherry.engine.networks.networking import Connection
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.spec import (
    HostFacts,
    ResolvedUser,
    SpecInputs,
    build_spec,
    host_facts,
    resolve_devices,
    resolve_user,
)
from wherry.engine.spec.selinux import Labels
from wherry.engine.table import ContainerTable
from wherry.model.digest import Digest
from wherry.model.runtime_spec import Mount
from wherry.snapshot.api import Snapshotter

_USERS_KEPT = 512

UserKey = tuple[Digest, str, tuple[str, ...]]


class Bundle(NamedTuple):
    """What a start is told, and what is to be remembered of it."""

    path: str
    apparmor_profile: str  # as clients know it
    labels: Labels  # of SELinux


class BundleMaker:
    """Writes bundles. Safe to call from several threads."""

    def __init__(
        self,
        settings: EngineSettings,
        snapshots: Snapshotter,
        files: NameFileWriter,
        table: ContainerTable,
    ) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._files = files
        self._table = table
        self._facts: HostFacts = host_facts()
        self._users: dict[UserKey, ResolvedUser] = {}

    def write(self, record: Container, connection: Connection, snapshot: str) -> Bundle:
        """Make the bundle's directory."""
        bundle = os.path.join(self._settings.runtime_dir(record.id), "bundle")
        root = os.path.join(bundle, "rootfs")
        os.makedirs(root, mode=0o755)
        inputs = self._inputs(record, connection, snapshot, root)
        relabel_mounts(record.mounts, inputs.labels.mount)
        spec = build_spec(inputs)
        # It holds the environment, and so the secrets that are in it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(os.path.join(bundle, "config.json"), flags, 0o600), "wb") as file:
            file.write(msgspec.json.encode(spec))
        profile = spec.process.apparmor_profile if spec.process else ""
        return Bundle(bundle, shown(profile, self._facts), inputs.labels)

    def _inputs(
        self, record: Container, connection: Connection, snapshot: str, root: str
    ) -> SpecInputs:
        return SpecInputs(
            container_id=record.id,
            config=record.config,
            host=record.host,
            facts=self._facts,
            root_path=root,
            cgroup_path=asked_group(self._settings, record.host.cgroup_parent, record.id),
            user=self._user(record, snapshot),
            devices=resolve_devices(record.host),
            hostname=self._files.hostname(record),
            name_files=self._files.write(record, connection),
            mounts=record.mounts,
            extra_mounts=self._extra_mounts(record),
            extra_env=self._extra_env(record),
            joined=joined_namespaces(record, self._table),
            users=users_of(self._settings, record.host),
            user_namespace=connection.user_namespace,
            own_files=self._settings.data_root.rstrip("/") + "/",
            labels=labels_of(self._settings, record, self._table),
            use_init=bool(record.host.init),
            has_default_apparmor=has_default(self._facts),
        )

    def _user(self, record: Container, snapshot: str) -> ResolvedUser:
        """Look the user up in the container's own files.

        The first start of a container sees the image's files as they are, so that the answer for
        an image is kept; later starts see what the container made of them. Something mounted over
        /etc makes no difference, as with Docker.
        """
        groups = record.host.group_add or ()
        if record.state.started_ns or snapshot != record.id:
            return self._resolve(snapshot, record.config.user, groups)
        key = (record.image_id, record.config.user, groups)
        user = self._users.get(key)
        if user is None:
            user = self._resolve(snapshot, record.config.user, groups)
            if len(self._users) >= _USERS_KEPT:
                self._users.clear()
            self._users[key] = user
        return user

    def _resolve(self, snapshot: str, user: str, groups: tuple[str, ...]) -> ResolvedUser:
        root = self._snapshots.open_root(snapshot)
        try:
            return resolve_user(root, user, groups)
        finally:
            os.close(root)

    def _extra_mounts(self, record: Container) -> tuple[Mount, ...]:
        bundle = self._settings.host_ca_bundle
        if not (record.host_ca and bundle):
            return ()
        options = ("bind", "ro", "nosuid", "nodev", "noexec", "rprivate")
        return (
            Mount(destination=BUNDLE_IN_CONTAINER, type="bind", source=bundle, options=options),
        )

    def _extra_env(self, record: Container) -> tuple[str, ...]:
        links = link_environment(record, legacy_links(record, self._table))
        if not record.host_ca:
            return links
        env = dict(self._settings.proxy_env)
        if self._settings.host_ca_bundle:
            env |= ca_environment()
        return (*links, *(f"{name}={value}" for name, value in env.items()))
