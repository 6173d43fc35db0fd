"""What the engine, the launcher and the processes behind it say to each other.

Every message is one packet of a SOCK_SEQPACKET socket: a JSON object with its ``type``, and
descriptors beside it (SCM_RIGHTS). ``docs/protocols/launcher.md`` and ``monitor.md`` tell who
says what when.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    NotSupported,
    PermissionDenied,
    ResourceExhausted,
    WherryError,
)
from wherry.model.runtime_spec import Hook, LinuxSeccomp, State
from wherry.runtime.api import (
    CommandNotExecutable,
    CommandNotFound,
    ExecRequest,
    HeldPort,
    LogSettings,
    StartRequest,
)

MAX_PACKET = 160 * 1024
_LONG = b"#"  # in place of a message that is too long for a packet
MAX_FDS = 250  # the kernel's SCM_MAX_FD is 253

# As plain numbers: the enumerations of the socket module cost a monitor memory.
_ROOM = socket.CMSG_SPACE(MAX_FDS * 4)
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_SOCKET = int(socket.SOL_SOCKET)
_RIGHTS = int(socket.SCM_RIGHTS)


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Engine to launcher; the first descriptor is the connection that the answer goes to."""

    request: StartRequest


class Exec(msgspec.Struct, frozen=True, tag="exec"):
    """Engine to launcher, as :class:`Start`. If the process that takes it may ``serve`` more of the
    container's execs, the last descriptor is the channel on which they come, the same way."""

    request: ExecRequest
    serve: bool = False


class Started(msgspec.Struct, frozen=True, tag="started"):
    """Monitor to engine: the program has been executed. The first message on every connection."""

    pid: int
    created_mountpoints: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Nothing was started, and nothing is left. ``kind`` is a key of ``KINDS``."""

    kind: str
    message: str


class Elsewhere(msgspec.Struct, frozen=True, tag="elsewhere"):
    """Exec server to engine: nothing was started; the launcher's starters can do it."""


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """Monitor to engine: the process has ended and its output is in the log."""

    code: int
    oom_killed: bool
    finished_ns: int


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    seq: int
    signum: int


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    seq: int
    rows: int
    columns: int


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """With one descriptor: the monitor's end of a stream socket."""

    seq: int
    stdin: bool
    stdout: bool
    stderr: bool


class CloseStdin(msgspec.Struct, frozen=True, tag="close-stdin"):
    seq: int


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """With descriptors: hold them open until the end."""

    seq: int


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Close the held sockets that are bound to these."""

    seq: int
    ports: tuple[HeldPort, ...]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Monitor to engine: the answer to the request of that number; no ``kind`` means success."""

    seq: int
    kind: str = ""
    message: str = ""


class Keep(msgspec.Struct, frozen=True, kw_only=True, tag="keep"):
    """Starter to monitor: look after this process.

    The descriptors are, in this order: the process's pidfd, the engine's connection, if
    ``recorded`` the socket that engines connect to, the terminal's master or else the reading ends
    of output and errors, the attached client if ``attach``, with ``follow_kills`` the first of what
    :func:`memory_kills.follow_kills` gives (up to here they are watched), if ``recorded`` the state
    directory, the writing end of standard input if ``stdin``, with ``follow_kills`` the second, and
    such as are only held. The packet begins with one byte, the number of those to watch, so that a
    monitor need not even decode it before something happens. Before it there may be
    :data:`NOT_NEEDED`.
    """

    pid: int
    created_mountpoints: tuple[str, ...]
    terminal: bool
    stdin: bool
    stdin_once: bool
    attach: bool
    attach_streams: tuple[bool, bool, bool]
    log: LogSettings
    cgroup: str  # to be removed at the end; empty for an exec
    alone: bool  # nothing of the container can outlive the process
    poststop: tuple[Hook, ...]
    state: State
    kill: tuple[str, ...] = ()  # another runtime's command that takes a signal's number
    follow_kills: bool = False
    recorded: bool = True  # false of what ends with an exec server: nobody finds it again


NOT_NEEDED = b"\0"
"""Starter to monitor: the init that was held ready is let go, and is to be reaped. Its number in
decimal digits follows."""
GUARD = b"\1"
"""Exec server to its parent: it will not hand anything over."""


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """Starter to launcher: a request was taken, another starter is needed; and a system call
    filter that had to be compiled for it, to be remembered."""

    monitor: int
    profile: LinuxSeccomp | None = None
    program: bytes = b""


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """Init held ready to starter: it begins. The plan without its operations, and a system call
    filter that had to be compiled."""

    plan: msgspec.Raw
    profile: LinuxSeccomp | None = None
    program: bytes = b""


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """Init held ready to starter: this container needs a process that is cloned for it."""


class Console(msgspec.Struct, frozen=True, tag="console"):
    """Init to monitor, with one descriptor: the terminal's master side."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Init to monitor: all is set up; end of file follows when the program is executed."""

    created_mountpoints: tuple[str, ...]


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """Init to monitor: the hooks of the host's side may run now; it goes on after a Go."""


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Monitor to init: ``step`` is done. To one that was held ready the standard streams come with
    it, unless it opens a terminal."""

    step: str


ToLauncher = Start | Exec
ToMonitor = Signal | Resize | Attach | CloseStdin | Hold | Release
ToEngine = Started | Failed | Elsewhere | Exited | Done
FromReady = Planned | Declined | Failed
FromInit = Console | Ready | Failed | Waiting
Message = ToLauncher | ToMonitor | ToEngine | Keep | Taken | FromReady | FromInit | Go

to_launcher = msgspec.json.Decoder(ToLauncher)
to_exec_server = msgspec.json.Decoder(Exec)
to_monitor = msgspec.json.Decoder(ToMonitor)
to_engine = msgspec.json.Decoder(ToEngine)
to_keeper = msgspec.json.Decoder(Keep)
from_starter = msgspec.json.Decoder(Taken)
from_ready = msgspec.json.Decoder(FromReady)
from_init = msgspec.json.Decoder(FromInit)
to_init = msgspec.json.Decoder(Go)
_encoder = msgspec.json.Encoder()

KINDS: dict[str, type[WherryError]] = {
    "command-not-found": CommandNotFound,
    "command-not-executable": CommandNotExecutable,
    "invalid": InvalidArgument,
    "not-found": NotFound,
    "conflict": Conflict,
    "permission": PermissionDenied,
    "not-supported": NotSupported,
    "exhausted": ResourceExhausted,
    "internal": InternalError,
}

T = TypeVar("T")


def failure(error: BaseException) -> Failed:
    """The message that tells of an error."""
    for kind, base in KINDS.items():
        if isinstance(error, base):
            return Failed(kind, str(error))
    return Failed("internal", str(error) or type(error).__name__)


def to_error(kind: str, message: str) -> WherryError:
    """The error that a message tells of."""
    return KINDS.get(kind, InternalError)(message)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def send(sock: socket.socket, message: Message, fds: Sequence[int] = (), flags: int = 0) -> None:
    """Send one packet. OSError if the other side has gone or, with MSG_DONTWAIT, does not read."""
    send_packet(sock, _encoder.encode(message), fds, flags)


def send_packet(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int = 0) -> None:
    """Send bytes and descriptors as one packet; InvalidArgument if they are too many for one."""
    if len(data) > MAX_PACKET:
        _send_long(sock, data, fds, flags)
        return
    flags |= socket.MSG_NOSIGNAL
    if not fds:
        sock.send(data, flags)
        return
    if len(fds) > MAX_FDS:
        raise InvalidArgument(f"{len(fds)} descriptors are too many for one message")
    rights = array.array("i", fds)
    sock.sendmsg([data], [(_SOCKET, _RIGHTS, rights)], flags)


def _send_long(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int) -> None:
    from wherry.runtime.long_messages import enclose  # few are

    file = enclose(data)
    try:
        send_packet(sock, _LONG, [*fds, file], flags)
    finally:
        os.close(file)


def _read_long(fds: list[int]) -> bytes:
    from wherry.runtime.long_messages import disclose

    if not fds:
        raise InvalidArgument("a long message has no descriptor")
    return disclose(fds.pop())


def receive(
    sock: socket.socket, decoder: msgspec.json.Decoder[T], flags: int = 0, room: int = MAX_PACKET
) -> tuple[T, list[int]] | None:
    """Receive one packet and its descriptors (close-on-exec, the caller's); None at the end.

    InvalidArgument if the packet is not a message that ``decoder`` knows.
    """
    data, fds, got = receive_packet(sock, room, flags)
    if not data:
        close_all(fds)
        return None
    try:
        if got & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise InvalidArgument("a message between engine and launcher was cut short")
        return decoder.decode(_read_long(fds) if data == _LONG else data), fds
    except (msgspec.DecodeError, InvalidArgument) as error:
        close_all(fds)
        raise InvalidArgument(f"a message is not understood: {error}") from None


def receive_packet(sock: socket.socket, size: int, flags: int = 0) -> tuple[bytes, list[int], int]:
    """Receive a packet as it is: bytes, descriptors, and the flags that recvmsg(2) returned."""
    data, ancillary, got, _ = sock.recvmsg(size, _ROOM, flags | _CLOEXEC)
    fds: list[int] = []
    for level, kind, rights in ancillary:
        if level == _SOCKET and kind == _RIGHTS:
            fds += memoryview(rights[: len(rights) & ~3]).cast("i").tolist()
    return data, fds, got


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
