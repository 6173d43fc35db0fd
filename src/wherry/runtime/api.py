"""The seam between the engine and what runs its containers.

The engine asks a :class:`Runtime` to start the init process of a container or one more process
inside it, and gets a :class:`Process`. Behind it stand the launcher, which forks, and one monitor
for each process, which outlives the engine (``docs/protocols/launcher.md`` and ``monitor.md``).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from wherry.errors import WherryError
from wherry.runtime.outcome import CommandNotExecutable, CommandNotFound, ExitStatus
from wherry.snapshot.api import OverlayMount

__all__ = (
    "CommandNotExecutable",
    "CommandNotFound",
    "ExecRequest",
    "ExitStatus",
    "ExternalRuntime",
    "HeldPort",
    "LogSettings",
    "LogTarget",
    "Process",
    "Runtime",
    "StartRequest",
)


class LogTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A logging service that gets what a container prints, and what it is told of the container.

    ``driver`` is a name of ``wherry.runtime.logs.drivers``; ``options`` are Docker's of that
    driver, checked before. ``attributes`` are the labels and variables that go along.
    """

    driver: str
    options: dict[str, str] = {}
    container_id: str = ""
    container_name: str = ""  # without a slash
    image_id: str = ""
    image_name: str = ""
    command: str = ""
    created_ns: int = 0
    tag: str = ""
    attributes: dict[str, str] = {}


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where a monitor writes what the container prints.

    ``driver`` is ``local`` (Wherry's framed records, docs/formats/logs.md), ``json-file``
    (Docker's lines) or ``none``. ``path`` is the current file; rotated ones are ``path.1``, ...
    ``attributes`` stand in every line of ``json-file``. ``remote`` is a service that gets
    everything, too.
    """

    driver: str
    path: str = ""
    max_size: int = 20 * 1024 * 1024
    max_files: int = 5
    compress: bool = False
    attributes: dict[str, str] = {}
    remote: LogTarget | None = None
    buffer: int = 0
    """Bytes that are kept for a service or disk that is slow before the oldest are dropped; 0: the
    container waits instead."""

    @property
    def shipped(self) -> bool:
        """Whether a process beside the monitor does the writing or sending."""
        return self.remote is not None or (self.buffer > 0 and self.driver != "none")


class ExternalRuntime(msgspec.Struct, frozen=True, kw_only=True):
    """Another OCI runtime. ``command`` is its program (an absolute path) with the arguments that
    come before all others, ``root`` the directory where it keeps the state of one container."""

    command: tuple[str, ...]
    root: str


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Start a container.

    ``bundle`` is a directory with the ``config.json`` of the OCI runtime specification; its
    ``root.path`` is where ``rootfs`` is mounted inside the container's mount namespace (no
    ``rootfs``: the directory is used as it is). ``state_dir`` is the monitor's own directory:
    its socket, its pid file and the exit record ``exit.json`` are there.
    ``open_stdin`` keeps standard input open for attached clients (otherwise it is /dev/null);
    ``stdin_once`` closes it after the first client that had it has gone.
    """

    id: str
    bundle: str
    state_dir: str
    rootfs: OverlayMount | None = None
    log: LogSettings = LogSettings(driver="none")
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] | None = None  # rows, columns
    attach: bool = False
    """The first of the passed descriptors is a stream socket of a client that is attached before
    the first byte of output, see :meth:`Process.attach` for what it speaks."""
    attach_streams: tuple[bool, bool, bool] = (False, True, True)  # stdin, stdout, stderr
    netns: bool = False
    """The next descriptor is the network namespace to enter (wins over the one in the config)."""
    external: ExternalRuntime | None = None
    """The program that sets the container up in place of our own code."""
    systemd_cgroup: bool = False
    """The config's ``cgroupsPath`` names a scope that systemd makes: ``slice:prefix:name``."""


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Start one more process in a running container.

    ``process`` is the ``process`` object of the runtime specification as JSON.
    ``container_pid`` is the container's init as the engine knows it, ``container_state_dir`` that
    of its :class:`StartRequest`.
    """

    id: str
    container_id: str
    container_pid: int
    container_state_dir: str
    state_dir: str
    process: msgspec.Raw
    open_stdin: bool = False
    console_size: tuple[int, int] | None = None
    attach: bool = False
    attach_streams: tuple[bool, bool, bool] = (False, True, True)
    external: ExternalRuntime | None = None
    """As in the container's :class:`StartRequest`."""
    apart: bool = False
    """Another container sees the processes of this one, and might trace them: a process of its own
    sets the exec up, which has nothing in its memory that is not the exec's."""

    @property
    def may_be_served(self) -> bool:
        """Whether the container's exec server can be asked for it at all."""
        return self.external is None and not self.apart


class HeldPort(msgspec.Struct, frozen=True):
    """What a held socket is bound to; ``kind`` is its type (SOCK_STREAM, SOCK_DGRAM), ``protocol``
    the number of its protocol."""

    kind: int
    protocol: int
    address: str
    port: int


class Process(Protocol):
    """The init process of a container, or an exec, whichever engine process started it."""

    @property
    def pid(self) -> int:
        """In the host's PID namespace."""
        ...

    @property
    def created_mountpoints(self) -> tuple[str, ...]:
        """Files and directories, absolute in the container, that had to be made in the writable
        layer to mount something on. A diff leaves them out while they are empty."""
        ...

    def on_exit(self, callback: Callable[[ExitStatus], None]) -> None:
        """Call back exactly once, at once if it has ended; from the runtime's own thread."""
        ...

    def signal(self, signum: int) -> None:
        """Send a signal through the parent, so that a pid that was reused is never hit.

        Conflict if the process has ended.
        """
        ...

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size. Conflict without a terminal or after the end."""
        ...

    def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
        """A stream socket to the process's standard streams, from now on.

        Without a terminal what is read comes in Docker's frames (one byte of stream number, three
        of zero, four of length, big-endian, then the payload); with one it is raw. What is
        written goes to standard input if ``stdin``; shutting down the writing side closes it.
        End of file means that the process has ended and all output was delivered.
        """
        ...

    def hold(self, fds: Sequence[int]) -> None:
        """Hold more descriptors open until the process ends; the caller keeps its own copies.

        Conflict if it has ended.
        """
        ...

    def release(self, ports: Sequence[HeldPort]) -> None:
        """Close held sockets, when this returns the ports are free. Idempotent; Conflict if the
        process has ended."""
        ...

    def close(self) -> None:
        """Forget the process; it goes on running."""
        ...


class Listening(Protocol):
    """Readable when there is something to take."""

    def fileno(self) -> int: ...

    def take(self) -> None:
        """Take what has come, and call who waits for it. Short; waits for nothing."""
        ...


class Runtime(Protocol):
    """Starts processes. Safe to call from several threads."""

    def start(self, request: StartRequest, fds: Sequence[int] = ()) -> Process:
        """Start a container and return when its program has been executed.

        ``fds`` are passed on in the order that the request's fields name; all others after them
        are held open by the monitor as long as the container runs (bound ports). The caller keeps
        its own copies. CommandNotFound, CommandNotExecutable, InvalidArgument (the config),
        InternalError; after an error nothing of the container is left.
        """
        ...

    def exec(self, request: ExecRequest, fds: Sequence[int] = ()) -> Process:
        """Start a process in a running container; errors as for :meth:`start`, Conflict if the
        container does not run."""
        ...

    def expect_exec(self, request: ExecRequest) -> None:
        """Tell that the same exec will probably be asked for in a moment, so that as much of it as
        can be is done until then. Returns at once; costs little if it is not asked for."""
        ...

    def exec_soon(
        self,
        request: ExecRequest,
        fds: Sequence[int],
        answered: Callable[[Process | WherryError], None],
    ) -> bool:
        """The same without waiting: ``answered`` gets the process, or why there is none, in a
        thread of the runtime's, and ``fds`` stay open until then. False if it would take time even
        to ask for it: nothing was done, and :meth:`exec` is to be called."""
        ...

    def listen_for_begun(self) -> Listening:
        """Who calls :meth:`exec_soon` from an event loop may take what is said of these processes
        there, once, rather than have a thread of the runtime's do it at the same time."""
        ...

    def adopt(self, state_dir: str) -> Process | ExitStatus | None:
        """Take up what another engine process started: the process if it runs, how it ended if
        it left an exit record, None if nothing is known (the host was rebooted)."""
        ...

    def close(self) -> None:
        """End the launcher. Containers and their monitors go on."""
        ...
