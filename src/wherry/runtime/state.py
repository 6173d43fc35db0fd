"""The files of a monitor's directory (docs/formats/state.md) and how processes are told apart."""

# No "from __future__ import annotations" here: msgspec needs what they stand for, and would have to
# compile them one by one.

import os
from functools import cache
from typing import TypeVar

import msgspec

from wherry.runtime.outcome import ExitStatus

STATE = "state.json"
EXIT = "exit.json"
SOCKET = "monitor.sock"
CRASH = "monitor.crash"
EXECS_CRASH = "execs.crash"

T = TypeVar("T")


class SharedRoot(msgspec.Struct, frozen=True):
    """Where the root of a container is mounted that has no mount namespace of its own: a place in
    the namespace with that path, empty for the host's; ``before`` numbers the mounts that were
    there already."""

    place: str
    namespace: str
    before: tuple[int, ...] = ()


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """``state.json``: which process a monitor looks after.

    ``start_time_ticks`` is field 22 of proc(5) ``stat``: together with ``boot_id`` and ``pid`` it
    names a process for ever. ``created_ns`` counts since the epoch.
    """

    id: str
    pid: int
    start_time_ticks: int
    boot_id: str
    bundle: str
    cgroup: str
    owns_cgroup: bool  # false for an exec, which is in its container's
    scope: bool = False  # systemd has made the group
    shared_root: SharedRoot | None = None
    created_ns: int


@cache
def boot_id() -> str:
    """The kernel's random name for this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def start_time_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if there is none of that number.

    A process that has ended is still there until its parent has asked how.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[19])


def write_atomically(directory_fd: int, name: str, data: bytes) -> None:
    """Write a file so that a reader sees all of it or the one before."""
    temporary = f".{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=directory_fd)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)


def write_state(directory_fd: int, state: ProcessState) -> None:
    write_atomically(directory_fd, STATE, msgspec.json.encode(state))


def write_exit(directory_fd: int, status: ExitStatus) -> None:
    write_atomically(directory_fd, EXIT, msgspec.json.encode(status))


def read_state(state_dir: str) -> ProcessState | None:
    return _read(os.path.join(state_dir, STATE), _state)


def read_exit(state_dir: str) -> ExitStatus | None:
    return _read(os.path.join(state_dir, EXIT), _exit)


# Made once, while one thread imports this: two that learn a struct at once crash.
_state = msgspec.json.Decoder(ProcessState)
_exit = msgspec.json.Decoder(ExitStatus)


def _read(path: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Decode a file; None if there is none, or one that a crash of the host left half written."""
    try:
        with open(path, "rb") as file:
            return decoder.decode(file.read())
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def forget(directory_fd: int) -> None:
    """Remove the files of a process that was not started."""
    for name in (STATE, SOCKET, EXIT):
        try:
            os.unlink(name, dir_fd=directory_fd)
        except FileNotFoundError:
            pass
