"""Driving another OCI runtime (runc, crun, ...) in place of our own set-up.

The starter calls the program as containerd's shim does: ``create`` with the standard streams or a
console socket, then ``start``; ``exec --detach`` for more processes. What the program leaves behind
becomes the child of the monitor, which is a subreaper meanwhile. The root file system is mounted in
a mount namespace of the starter's own, so that the host never sees it.

Only imported for containers that ask for it: other monitors do not carry it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from wherry.errors import InternalError, NotSupported, WherryError
from wherry.model.runtime_spec import (
    INIT_ANNOTATION,
    Hook,
    Hooks,
    Linux,
    LinuxNamespace,
    Process,
    Spec,
    State,
)
from wherry.runtime.api import (
    CommandNotExecutable,
    CommandNotFound,
    ExecRequest,
    ExternalRuntime,
    StartRequest,
)
from wherry.runtime.launch.external_users import mount_for, with_plain_mounts
from wherry.runtime.ops.prepared import give
from wherry.runtime.ops.rooted import open_in
from wherry.runtime.plan.planning import Plan, streams_owner
from wherry.sys import mount as m
from wherry.sys.namespaces import CLONE_NEWNS, unshare

_PATIENCE = 60.0
"""Seconds that one call of the program may take."""
_LOG_SIZE = 64 * 1024
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_CONSOLE = "console.sock"
_PID, _LOG, _PROCESS = "runtime.pid", "runtime.log", "process.json"

Stdio = tuple[int, int, int]
T = TypeVar("T")


class _Line(msgspec.Struct, frozen=True):
    """A line of a runtime's log in the format ``json``."""

    level: str = ""
    msg: str = ""


class ExternalChild:
    """A process that the program made and left to the monitor."""

    def __init__(self, pid: int, master_fd: int | None, created: tuple[str, ...]) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.master_fd = master_fd
        self.created_mountpoints = created


class _Program:
    """The runtime's program. ``directory`` is the state directory, opened, for its files."""

    def __init__(self, runtime: ExternalRuntime, container_id: str, directory: int) -> None:
        self._runtime = runtime
        self._id = container_id
        self._directory = directory

    def path(self, name: str) -> str:
        """A file of the state directory, as the program can open it."""
        return f"/proc/{os.getpid()}/fd/{self._directory}/{name}"

    def call(self, command: str, *options: str, stdio: Stdio | None = None) -> None:
        """Run ``COMMAND OPTIONS ID``; what its log says is the error."""
        log = ("--log", self.path(_LOG), "--log-format", "json")
        words = [*base_command(self._runtime), *log, command, *options, self._id]
        null = subprocess.DEVNULL
        stdin, stdout, stderr = stdio or (null, null, null)
        try:
            done = subprocess.run(
                words,
                check=False,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=_ENVIRONMENT,
                timeout=_PATIENCE,
            )
        except OSError as error:
            raise InternalError(
                f"cannot run the OCI runtime {words[0]}: {error.strerror}"
            ) from None
        except subprocess.TimeoutExpired:
            raise InternalError(
                f"the OCI runtime {words[0]} did not {command} the container in time"
            ) from None
        if done.returncode:
            raise _error(command, self._last_words() or f"exit status {done.returncode}")

    def _last_words(self) -> str:
        """The last error in the log; empty if there is none."""
        try:
            with open(self.path(_LOG), "rb") as file:
                lines = file.read(_LOG_SIZE).splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            try:
                read = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError:
                continue
            if read.level in ("error", "fatal"):
                return read.msg
        return ""

    def pid(self) -> int:
        with open(self.path(_PID), encoding="ascii") as file:
            return int(file.read())


def base_command(runtime: ExternalRuntime) -> tuple[str, ...]:
    """The program with the options that come before every command."""
    return (*runtime.command, "--root", runtime.root)


def _error(command: str, words: str) -> WherryError:
    text = f"OCI runtime {command} failed: {words}"
    if "executable file not found" in words or "no such file or directory" in words:
        return CommandNotFound(text)
    return CommandNotExecutable(text) if "permission denied" in words else InternalError(text)


class _Console:
    """A socket on which the program hands over a terminal (runc's ``--console-socket``)."""

    def __init__(self, program: _Program, directory: int) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"/proc/self/fd/{directory}/{_CONSOLE}")
        self._listener.listen(1)
        self._listener.settimeout(_PATIENCE)
        self.option = ("--console-socket", program.path(_CONSOLE))

    def receive(self) -> int:
        """The terminal's master side."""
        with self._listener:
            sender, _ = self._listener.accept()
        with sender:
            sender.settimeout(_PATIENCE)
            _, fds, _, _ = socket.recv_fds(sender, 4096, 1)
        if not fds:
            raise InternalError("the OCI runtime handed no terminal over")
        os.set_inheritable(fds[0], False)
        return fds[0]


class ExternalWay:
    """Brings a plan of :func:`plan_external` to life."""

    def __init__(
        self,
        plan: Plan,
        request: StartRequest | ExecRequest,
        runtime: ExternalRuntime,
        netns: int | None,
    ) -> None:
        self._plan = plan
        self._request = request
        self._runtime = runtime
        self._netns = netns
        self._program: _Program | None = None

    @property
    def kill(self) -> tuple[str, ...]:
        """See :class:`wherry.runtime.launch.ways.Way`."""
        if isinstance(self._request, ExecRequest):
            return ()
        return (*base_command(self._runtime), "kill", self._plan.id)

    def begin(self, stdio: Stdio | None, directory: int) -> ExternalChild:
        """Have the program set up the container, or start the exec."""
        program = self._program = _Program(self._runtime, self._plan.id, directory)
        try:
            return self._begin(program, stdio, directory)
        except BaseException:
            self._delete()
            raise

    def _begin(self, program: _Program, stdio: Stdio | None, directory: int) -> ExternalChild:
        console = _Console(program, directory) if self._plan.terminal else None
        if self._plan.streams_owner >= 0:
            give(stdio or (), self._plan.streams_owner)
        options = ["--pid-file", program.path(_PID), *(console.option if console else ())]
        created: tuple[str, ...] = ()
        if isinstance(self._request, StartRequest):
            created = self._prepare(self._request)
            program.call("create", "--bundle", self._request.bundle, *options, stdio=stdio)
        else:
            with open(program.path(_PROCESS), "xb") as file:
                file.write(self._request.process)
            options += ["--process", program.path(_PROCESS), "--detach"]
            program.call("exec", *options, stdio=stdio)
        master = console.receive() if console else None
        return ExternalChild(program.pid(), master, created)

    def _prepare(self, request: StartRequest) -> tuple[str, ...]:
        """Mount the root where only the program sees it and write the final configuration; the
        places of mounts that the root lacks."""
        unshare(CLONE_NEWNS)
        m.mount("", "/", "", m.MS_SLAVE | m.MS_REC)
        path = os.path.join(request.bundle, "config.json")
        with open(path, "rb") as file:
            spec = msgspec.json.decode(file.read(), type=Spec)
        if spec.root is None:
            raise InternalError(f"{path} names no root")
        root = os.path.join(request.bundle, spec.root.path)
        mount_for(spec.linux or Linux(), root, request.rootfs)
        final = with_plain_mounts(spec, request.bundle)
        if self._netns is not None:
            final = _with_network(final, self._netns)
        if final != spec:
            with open(path, "wb") as file:
                file.write(msgspec.json.encode(final))
        return tuple(_missing(root, [mount.destination for mount in spec.mounts]))

    def complete(self, child: ExternalChild, meanwhile: Callable[[], T]) -> T:
        """Have the container's program executed; that of an exec is already."""
        try:
            made = meanwhile()
            if isinstance(self._request, StartRequest) and self._program is not None:
                self._program.call("start")
        except BaseException:
            self.abandon(child)
            raise
        return made

    def abandon(self, child: ExternalChild) -> None:
        """End what was begun."""
        try:
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._delete()

    def _delete(self) -> None:
        """Have the program forget a container that did not start."""
        if isinstance(self._request, StartRequest) and self._program is not None:
            try:
                self._program.call("delete", "--force")
            except WherryError:
                pass  # what went wrong before is what the user has to know


def _with_network(spec: Spec, netns: int) -> Spec:
    """The configuration with the network namespace that was passed."""
    linux = spec.linux or Linux()
    path = f"/proc/{os.getpid()}/fd/{netns}"
    others = tuple(one for one in linux.namespaces if one.type != "network")
    namespaces = (*others, LinuxNamespace(type="network", path=path))
    return msgspec.structs.replace(
        spec, linux=msgspec.structs.replace(linux, namespaces=namespaces)
    )


def _missing(root: str, targets: Sequence[str]) -> Iterator[str]:
    """The targets, and directories above them, that are not there yet."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        seen: set[str] = set()
        for target in targets:
            parts = [part for part in target.split("/") if part]
            for count in range(1, len(parts) + 1):
                path = "/" + "/".join(parts[:count])
                if path not in seen and not _exists(root_fd, path):
                    yield path
                seen.add(path)
    finally:
        os.close(root_fd)


def _exists(root_fd: int, path: str) -> bool:
    try:
        os.close(open_in(root_fd, path))
    except OSError:
        return False
    return True


def plan_external(
    request: StartRequest | ExecRequest,
    runtime: ExternalRuntime,
    *,
    container_id: str,
    bundle: str,
    cgroup: str,
    linux: Linux,
    process: Process,
) -> Plan:
    """What the monitor has to know of a process that the program makes. At the end of a container
    the program's own traces are removed, as by a hook. ``linux`` is the container's."""
    command = (*base_command(runtime), "delete", "--force", container_id)
    environment = tuple(f"{name}={value}" for name, value in _ENVIRONMENT.items())
    delete = Hook(path=command[0], args=command, env=environment, timeout=int(_PATIENCE))
    own = isinstance(request, StartRequest)
    return Plan(
        id=container_id,
        bundle=bundle,
        ops=(),
        terminal=process.terminal,
        streams_owner=streams_owner(linux, process),
        cgroup=cgroup,
        hooks=Hooks(poststop=(delete,)) if own else Hooks(),
        state=State(oci_version="1.2.0", id=container_id, status="created", pid=0, bundle=bundle),
    )


def check_external(spec: Spec) -> None:
    """NotSupported for what only our own set-up can do."""
    if spec.annotations.get(INIT_ANNOTATION) == "true":
        raise NotSupported("--init needs the engine's own runtime: leave --runtime out")
    if any(mount.source.startswith("/proc/") for mount in spec.mounts):
        raise NotSupported("--ipc container: needs the engine's own runtime: leave --runtime out")
