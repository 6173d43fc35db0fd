"""Containers as the OCI runtime command line knows them: created, running, paused, stopped.

There is no monitor here: the caller (a shim) looks after the process, whose parent exits as soon
as it is set up. Everything known of a container is in its directory below ``--root``:
``state.json`` and, until the start, a fifo on which its init waits for it.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING, Literal

import msgspec

from wherry.cgroup import open_cgroups
from wherry.errors import Conflict, InternalError, InvalidArgument, NotFound
from wherry.model.runtime_spec import (
    OCI_VERSION,
    Hook,
    Linux,
    LinuxResources,
    Process,
    Spec,
    State,
)
from wherry.runtime import state
from wherry.runtime.documents import read_spec
from wherry.runtime.host import CGROUPS, find_host
from wherry.runtime.launch.spawn import Child, Group, handshake, scopes, spawn
from wherry.runtime.oci.tolerance import (
    below_root,
    ignored,
    kernel_memory,
    with_default_devices,
    with_joined_users,
)
from wherry.runtime.packets import send_packet
from wherry.runtime.plan.namespaces import owns_mounts
from wherry.runtime.plan.planning import Filters, Plan, plan_container, plan_exec
from wherry.runtime.plan.process import warnings
from wherry.runtime.plan.words import check_process_words, check_spec
from wherry.runtime.state import SharedRoot

if TYPE_CHECKING:
    from wherry.cgroup.api import Cgroup, Cgroups

FIFO = "exec.fifo"
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")
_LONGEST_ID = 1024

Status = Literal["created", "running", "paused", "stopped"]


class Container:
    """One container below a root directory."""

    def __init__(self, root: str, container_id: str) -> None:
        if not is_id(container_id):
            raise InvalidArgument(f"the container id {container_id!r} is malformed")
        self.id = container_id
        self.warnings: tuple[str, ...] = ()
        self.directory = os.path.join(root, container_id)
        self._known: state.ProcessState | None = None
        self._spec: Spec | None = None

    def record(self) -> state.ProcessState:
        """What is known of it, which stays as it was written when it was made; NotFound."""
        if self._known is None:
            self._known = state.read_state(self.directory)
        if self._known is None:
            raise NotFound(f"container {self.id!r} does not exist")
        return self._known

    def spec(self) -> Spec:
        """Its configuration."""
        if self._spec is None:
            self._spec = read_spec(self.record().bundle)
        return self._spec

    def spec_if_there(self) -> Spec | None:
        """The same, unless the bundle has been removed meanwhile."""
        try:
            return self.spec()
        except InternalError:
            return None

    def status(self) -> Status:
        record = self.record()
        alive = (
            record.boot_id == state.boot_id()
            and state.start_time_ticks(record.pid) == record.start_time_ticks
            and not _is_zombie(record.pid)
        )
        if not alive:
            return "stopped"
        if os.path.exists(os.path.join(self.directory, FIFO)):
            return "created"
        group = self._group()
        return "paused" if group is not None and group.frozen() else "running"

    def state(self) -> State:
        """For ``state`` and for hooks (runtime.md, section "State")."""
        record = self.record()
        status = self.status()
        spec = self.spec_if_there()
        return State(
            oci_version=spec.oci_version if spec is not None else OCI_VERSION,
            id=self.id,
            status=status,
            pid=0 if status == "stopped" else record.pid,
            bundle=record.bundle,
            annotations=spec.annotations if spec is not None else {},
        )

    # --- operations ---

    def create(
        self,
        bundle: str,
        *,
        preserve_fds: int = 0,
        new_keyring: bool = True,
        systemd: bool = False,
        plain_terminal: bool = False,
        no_pivot: bool = False,
    ) -> Child:
        """Set the container up to the point where only its program remains to be executed."""
        bundle = os.path.abspath(bundle)
        spec = self._spec = read_spec(bundle)
        check_spec(spec)
        spec = with_joined_users(with_default_devices(below_root(spec, bundle)))
        spec, self.warnings = kernel_memory(spec)
        self.warnings += ignored(spec)
        if spec.process is not None:
            self.warnings += tuple(warnings(spec.process))
        host = find_host(systemd=systemd)
        plan = plan_container(
            spec,
            self.id,
            bundle,
            rootfs=None,
            layout=host.layout,
            filters=_filters(spec),
            die_with_parent=False,
            preserve_fds=preserve_fds,
            await_start=True,
            new_keyring=new_keyring,
            plain_terminal=plain_terminal,
            no_pivot=no_pivot,
        )
        _refuse_frozen(host.cgroups, plan)
        shared = _shared_root(spec, bundle)
        self._make_directory()
        try:
            fifo = os.path.join(self.directory, FIFO)
            os.mkfifo(fifo, 0o600)
            start_fd = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
            group = Group(host.cgroups, plan, existing=False)
            child = _spawned(plan, group, start_fd)
            handshake(
                plan,
                child,
                group,
                unified=host.layout.unified,
                meanwhile=lambda: self._record(child, plan, host.boot_id, shared),
            )
            os.close(start_fd)
        except BaseException:
            _unmount(shared)
            self._remove_directory()
            raise
        return child

    def _make_directory(self) -> None:
        os.makedirs(os.path.dirname(self.directory), 0o711, exist_ok=True)
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            raise Conflict(f"a container with the id {self.id!r} exists already") from None

    def _remove_directory(self) -> None:
        with os.scandir(self.directory) as entries:
            for entry in entries:
                os.unlink(entry.path)
        os.rmdir(self.directory)

    def _record(self, child: Child, plan: Plan, boot: str, shared: SharedRoot | None) -> None:
        record = state.ProcessState(
            id=self.id,
            pid=child.pid,
            start_time_ticks=state.start_time_ticks(child.pid) or 0,
            boot_id=boot,
            bundle=plan.bundle,
            cgroup=plan.cgroup,
            owns_cgroup=True,
            scope=plan.scope,
            shared_root=shared,
            created_ns=time.time_ns(),
        )
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            state.write_state(directory, record)
        finally:
            os.close(directory)
        self._known = record

    def start(self) -> None:
        """Let the program of a created container be executed."""
        status = self.status()
        if status != "created":
            raise Conflict(f"container {self.id!r} cannot be started: it is {status} already")
        fifo = os.path.join(self.directory, FIFO)
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.unlink(fifo)
        os.write(fd, b"s")
        os.close(fd)
        hooks = self.spec().hooks
        if hooks is not None and hooks.poststart:
            self._poststart(hooks.poststart)

    def _poststart(self, hooks: tuple[Hook, ...]) -> None:
        """A container whose hooks fail is removed (runtime.md, "Lifecycle" 9)."""
        from wherry.runtime.hooks import run_hooks  # few containers have hooks

        try:
            run_hooks(hooks, self.state(), "poststart")
        except BaseException:
            self.delete(force=True)
            raise

    def kill(self, signum: int, *, everything: bool = False) -> None:
        """Send a signal to the first process, or to all of the container's group."""
        if everything:
            _kill_all(self._group(), signum)
            return
        record = self.record()
        if signum == signal.SIGKILL and self._shares_pids():
            _kill_all(self._group(), signum)  # its first process's end would not end the others
            return
        if self.status() == "stopped":
            raise Conflict(f"container {self.id!r}: container not running")
        pidfd = os.pidfd_open(record.pid)
        try:
            if state.start_time_ticks(record.pid) == record.start_time_ticks:
                signal.pidfd_send_signal(pidfd, signum)
        finally:
            os.close(pidfd)
        if signum == signal.SIGKILL:
            self._let_die()

    def _shares_pids(self) -> bool:
        spec = self.spec_if_there()
        linux = spec.linux if spec is not None else None
        return linux is not None and not any(
            one.type == "pid" and not one.path for one in linux.namespaces
        )

    def _let_die(self) -> None:
        """A frozen process of cgroup v1 does not even die."""
        group = self._group()
        if group is not None and group.frozen():
            group.thaw()

    def pause(self) -> None:
        """Stop all processes where they are; Conflict unless it is running."""
        self._must_be("running", "created").freeze()

    def resume(self) -> None:
        """Let the processes of a paused container go on."""
        self._must_be("paused").thaw()

    def update(self, resources: LinuxResources) -> None:
        """Change limits of a container that has not stopped."""
        self.live_group().update(resources)

    def pids(self) -> tuple[int, ...]:
        """All processes of the container; none once it has stopped."""
        group = self._group()
        return () if group is None or self.status() == "stopped" else group.pids()

    def live_group(self) -> Cgroup:
        """The group of a container that has not stopped."""
        return self._must_be("created", "running", "paused")

    def _must_be(self, *allowed: Status) -> Cgroup:
        status = self.status()
        group = self._group()
        if status not in allowed or group is None:
            raise Conflict(f"container {self.id!r} is {status}, not {' or '.join(allowed)}")
        return group

    def delete(self, *, force: bool = False) -> None:
        """Remove what is left of a stopped container; ``force`` kills it first."""
        status = self.status()
        if status in ("running", "paused") and not force:
            raise Conflict(f"container {self.id!r} is not stopped; stop it or use --force")
        self.warnings = ()
        spec = self.spec_if_there()
        hooks = spec.hooks.poststop if spec is not None and spec.hooks is not None else ()
        stopped = msgspec.structs.replace(self.state(), status="stopped", pid=0) if hooks else None
        if status != "stopped":
            self.kill(signal.SIGKILL)
        group = self._group()
        if group is not None:
            group.kill()
            group.remove()
        _unmount(self.record().shared_root)
        self._remove_directory()
        if stopped is not None:
            from wherry.runtime.hooks import try_hooks

            self.warnings = tuple(try_hooks(hooks, stopped, "poststop"))

    def _group(self) -> Cgroup | None:
        record, cgroups = self.record(), open_cgroups(CGROUPS)
        try:
            return (scopes(cgroups) if record.scope else cgroups).open(record.cgroup)
        except NotFound:
            return None

    def exec(
        self,
        process: Process,
        *,
        preserve_fds: int = 0,
        ignore_paused: bool = False,
        groups: tuple[str, ...] = (),
        plain_terminal: bool = False,
    ) -> Child:
        """Start one more process in a running container; in a paused one it waits, if wanted."""
        record = self.record()
        status = self.status()
        if status == "stopped":
            raise Conflict(f"container {self.id!r} is not running")
        if status == "paused" and not ignore_paused:
            raise Conflict(f"cannot exec in a paused container: {self.id!r} is to be resumed first")
        check_process_words(process)
        self.warnings = tuple(warnings(process))
        host = find_host()
        container = with_joined_users(self.spec(), record.pid)
        plan = plan_exec(
            process,
            container,
            self.id,
            record.bundle,
            cgroup=record.cgroup,
            layout=host.layout,
            filters=_filters(container),
            die_with_parent=False,
            preserve_fds=preserve_fds,
            container_pid=record.pid,
            groups=groups,
            plain_terminal=plain_terminal,
        )
        pidfd = os.pidfd_open(record.pid)
        try:
            group = Group(host.cgroups, plan, existing=True)
            child = spawn(plan, group, container_pidfd=pidfd)
            handshake(plan, child, group, unified=host.layout.unified, meanwhile=lambda: None)
        finally:
            os.close(pidfd)
        return child


def _filters(spec: Spec) -> Filters:
    if spec.linux is None or spec.linux.seccomp is None:
        return Filters()
    from wherry.runtime.oci.kept_filters import KeptFilters  # not all containers have a filter

    return KeptFilters()


def _spawned(plan: Plan, group: Group, start_fd: int) -> Child:
    """The process; if there is none, its group is not left behind that it was to be born in."""
    try:
        return spawn(plan, group, start_fd=start_fd)
    except BaseException:
        group.abandon()
        raise


def _shared_root(spec: Spec, bundle: str) -> SharedRoot | None:
    """None for a container with a mount namespace of its own."""
    linux = spec.linux or Linux()
    if owns_mounts(linux) or spec.root is None:
        return None
    from wherry.runtime.oci import shared_mounts  # few containers share theirs

    return shared_mounts.look(linux, os.path.join(bundle, spec.root.path))


def _unmount(shared: SharedRoot | None) -> None:
    if shared is not None:
        from wherry.runtime.oci import shared_mounts

        shared_mounts.take_away(shared)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def _refuse_frozen(cgroups: Cgroups, plan: Plan) -> None:
    """A process that is born into a frozen group would never be set up."""
    try:
        frozen = not plan.scope and cgroups.open(plan.cgroup).frozen()
    except (NotFound, FileNotFoundError):  # or others have made it in some hierarchies of version 1
        return
    if frozen:
        raise Conflict(
            f"container's cgroup unexpectedly frozen: thaw {plan.cgroup} or name another"
        )


def _kill_all(group: Cgroup | None, signum: int) -> None:
    if group is None:
        return
    for pid in group.pids():
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            pass
    if signum == signal.SIGKILL and group.frozen():
        group.thaw()


def is_id(text: str) -> bool:
    """Whether a container can have this name."""
    known = 0 < len(text) <= _LONGEST_ID and _LETTERS.issuperset(text)
    return known and text not in (".", "..")


def send_descriptor(path: str, fd: int, name: str) -> None:
    """Hand a terminal's master (``--console-socket``) or a pidfd (``--pidfd-socket``) to whoever
    listens on a unix socket."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        try:
            sock.connect(path)
        except OSError as error:
            raise InvalidArgument(f"cannot connect to {path}: {error.strerror}") from None
        send_packet(sock, name.encode(), [fd])
