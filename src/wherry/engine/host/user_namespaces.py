"""Containers whose users are not the host's (``--userns-remap``).

Each has a user namespace of its own, unless it shares other namespaces of a container: those belong
to that one's. The engine makes it, and in it the network namespace that it is to set up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.spec.security import parse_options
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, InvalidArgument, NotSupported
from wherry.model.container import HostConfig
from wherry.model.idmap import IdRange
from wherry.model.users import UserMap
from wherry.sys.users import Range, make_users, maps_of

_CONTAINER = "container:"
_ALL = (IdRange(0, 0, 2**32 - 1),)
"""The map of the host's own namespace."""


def users_of(settings: EngineSettings, host: HostConfig) -> UserMap | None:
    """The ids of a container's users on the host; None if they are the same."""
    return None if host.userns_mode == "host" else settings.users


def users_in(process: int) -> UserMap | None:
    """The users of a running process, by its directory in /proc; None if they are the host's."""
    uids, gids = map(_id_ranges, maps_of(f"/proc/self/fd/{process}"))
    return None if uids == gids == _ALL else UserMap(uids=uids, gids=gids)


def _id_ranges(ranges: Sequence[Range]) -> tuple[IdRange, ...]:
    return tuple(IdRange(*one) for one in ranges)


def check_users(settings: EngineSettings, host: HostConfig) -> None:
    """InvalidArgument, in Docker's words, for what needs the host's own users."""
    if users_of(settings, host) is None:
        return
    if host.privileged:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces.  You must run the container in "
            "the host namespace when running privileged mode"
        )
    if host.network_mode == "host":
        raise InvalidArgument(
            "cannot share the host's network namespace when user namespaces are enabled"
        )
    if parse_options(host.security_opt or ()).writable_cgroups is not None:
        raise InvalidArgument(
            "writable-cgroups is incompatible with user namespaces: the groups' files are those of "
            "the host's root"
        )
    if host.pid_mode == "host":
        raise InvalidArgument(
            "cannot share the host PID namespace when user namespaces are enabled"
        )


class OpenUsers(msgspec.Struct, frozen=True):
    """Descriptors of a user namespace, and of the network namespace that came with a new one."""

    users: int
    network: int | None = None


class UserNamespaces:
    """Makes and opens the namespaces of containers' users."""

    def __init__(self, settings: EngineSettings, containers: ContainerTable) -> None:
        self._settings = settings
        self._containers = containers

    def open(self, record: Container) -> OpenUsers | None:
        """The namespace that a container is to be in; None for the host's. The caller closes it.

        Conflict if it shares something of a container that does not run, or with other users.
        """
        users = users_of(self._settings, record.host)
        if users is None:
            return None
        for reference in _shared(record.host):
            return OpenUsers(self._open_of(self._containers.find(reference).record))
        try:
            return OpenUsers(*make_users(_ranges(users.uids), _ranges(users.gids)))
        except OSError as error:
            raise NotSupported(f"cannot make a user namespace: {error.strerror}") from error

    def _open_of(self, other: Container) -> int:
        if users_of(self._settings, other.host) is None:
            raise Conflict(
                f"cannot share namespaces of {other.name}, which has the host's users: give both "
                "containers --userns=host, or none"
            )
        try:
            return os.open(f"/proc/{other.state.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise Conflict(
                f"cannot join the user namespace of a non running container: {other.name}"
            ) from None


def _shared(host: HostConfig) -> Iterator[str]:
    """The containers that modes name."""
    for mode in (host.network_mode, host.pid_mode, host.ipc_mode):
        if mode.startswith(_CONTAINER):
            yield mode.removeprefix(_CONTAINER)


def _ranges(ranges: Sequence[IdRange]) -> list[Range]:
    return [(one.container, one.host, one.count) for one in ranges]
