"""What the engine, the launcher and the processes behind it say to each other.

Every message is one packet of a SOCK_SEQPACKET socket: a JSON object with its ``type``, and
descriptors beside it (SCM_RIGHTS). ``docs/protocols/launcher.md`` and ``monitor.md`` tell who
says what when. What a process says that sets itself up is in :mod:`wherry.runtime.init_messages`.
"""

# No "from __future__ import annotations" here: msgspec needs what they stand for, and would have to
# compile them one by one.

import msgspec

from wherry.model.runtime_spec import Hook, LinuxSeccomp, State
from wherry.runtime.api import ExecRequest, HeldPort, LogSettings, StartRequest
from wherry.runtime.init_messages import (
    KINDS,
    Console,
    Failed,
    FromInit,
    Go,
    Ready,
    Waiting,
    failure,
    from_init,
    to_error,
    to_init,
)
from wherry.runtime.packets import (
    MAX_FDS,
    MAX_PACKET,
    close_all,
    encode,
    receive,
    receive_packet,
    send,
    send_packet,
)

__all__ = (  # of those that talk to a launcher or a monitor, most need these as well
    "KINDS",
    "MAX_FDS",
    "MAX_PACKET",
    "Console",
    "Failed",
    "FromInit",
    "Go",
    "Ready",
    "Waiting",
    "close_all",
    "encode",
    "failure",
    "from_init",
    "receive",
    "receive_packet",
    "send",
    "send_packet",
    "to_error",
    "to_init",
)


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Engine to launcher; the first descriptor is the connection that the answer goes to."""

    request: StartRequest


class Exec(msgspec.Struct, frozen=True, tag="exec"):
    """Engine to launcher, as :class:`Start`. If the process that takes it may ``serve`` more of the
    container's execs, the last descriptor is the channel on which they come, the same way."""

    request: ExecRequest
    serve: bool = False


class Expect(msgspec.Struct, frozen=True, tag="expect"):
    """Engine to exec server: the same exec is likely to be asked for soon. No answer."""

    request: ExecRequest


class Started(msgspec.Struct, frozen=True, tag="started"):
    """Monitor to engine: the program has been executed. The first message on every connection."""

    pid: int
    created_mountpoints: tuple[str, ...] = ()


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
"""Starter to monitor: a child that ends is to be reaped, an init held ready that was let go, or who
has cloned one. Its number in decimal digits follows."""
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


ToLauncher = Start | Exec
ToExecServer = Exec | Expect
ToMonitor = Signal | Resize | Attach | CloseStdin | Hold | Release
ToEngine = Started | Failed | Elsewhere | Exited | Done
FromReady = Planned | Declined | Failed

to_launcher = msgspec.json.Decoder(ToLauncher)
to_exec_server = msgspec.json.Decoder(ToExecServer)
to_monitor = msgspec.json.Decoder(ToMonitor)
to_engine = msgspec.json.Decoder(ToEngine)
to_keeper = msgspec.json.Decoder(Keep)
from_starter = msgspec.json.Decoder(Taken)
from_ready = msgspec.json.Decoder(FromReady)
