"""What a container shares of others: the namespaces that ``container:NAME`` asks for."""

from __future__ import annotations

from wherry.engine.records import Container
from wherry.engine.spec import Joined
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, InvalidArgument, WherryError

_CONTAINER = "container:"
_MAX_DEPTH = 32


def joined_namespaces(record: Container, table: ContainerTable) -> Joined:
    """Where the namespaces are that a container joins.

    NotFound for a container that there is not, Conflict for one that does not run, InvalidArgument
    for one that does not share what is asked for.
    """
    host = record.host
    ipc, shm = _shared_memory(host.ipc_mode, table)
    return Joined(
        network=_namespace(host.network_mode, "network", "net", table),
        pid=_namespace(host.pid_mode, "PID", "pid", table),
        ipc=ipc,
        shm=shm,
    )


def _namespace(mode: str, called: str, file: str, table: ContainerTable) -> str:
    """The path of another container's namespace that a mode names; empty if it names none."""
    if not mode.startswith(_CONTAINER):
        return ""
    return f"/proc/{_running(mode, called, table).state.pid}/ns/{file}"


def _running(mode: str, called: str, table: ContainerTable) -> Container:
    other = table.find(mode.removeprefix(_CONTAINER)).record
    if not other.state.pid:
        raise Conflict(
            f"cannot join the {called} namespace of a non running container: {other.name}"
        )
    return other


def shares_processes(record: Container, table: ContainerTable) -> bool:
    """Whether a container is in another one's PID namespace, or another one in its own."""
    if record.host.pid_mode.startswith(_CONTAINER):
        return True
    others = [entry.record for entry in table]
    modes = {one.host.pid_mode for one in others if one.state.running}
    return any(_names(mode, record, table) for mode in modes if mode.startswith(_CONTAINER))


def _names(mode: str, record: Container, table: ContainerTable) -> bool:
    """Whether a mode names a container; it may if the name has been given up since."""
    try:
        return table.find(mode.removeprefix(_CONTAINER)).id == record.id
    except WherryError:
        return True


def _shared_memory(mode: str, table: ContainerTable) -> tuple[str, str]:
    """The IPC namespace that a mode names, and the directory that is shared along with it.

    ``/dev/shm`` is no part of the namespace, but programs use both together. It is taken out of
    the other container's mounts, so that nothing has to be mounted on the host.
    """
    if not mode.startswith(_CONTAINER):
        return "", ""
    donor = _running(mode, "IPC", table)
    pid, donor_mode = donor.state.pid, donor.host.ipc_mode
    for _ in range(_MAX_DEPTH):  # a container that shares another's can be shared in turn
        if not donor_mode.startswith(_CONTAINER):
            break
        donor_mode = table.find(donor_mode.removeprefix(_CONTAINER)).record.host.ipc_mode
    if donor_mode not in ("shareable", "host"):
        raise InvalidArgument(
            f"failed to join IPC namespace: container {donor.id}: non-shareable IPC (hint: use "
            "IpcMode:shareable for the donor container)"
        )
    return f"/proc/{pid}/ns/ipc", f"/proc/{pid}/root/dev/shm"
