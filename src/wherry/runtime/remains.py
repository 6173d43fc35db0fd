"""What is left of a process that another engine started: its monitor, or how it ended."""

from __future__ import annotations

import os
import signal
import socket
import time

from wherry.cgroup import open_cgroups
from wherry.errors import NotFound
from wherry.runtime import state
from wherry.runtime.api import ExitStatus

KILLED = 137


def connect(state_dir: str) -> socket.socket | None:
    """Connect to a monitor; None if none answers."""
    try:
        directory = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(f"/proc/self/fd/{directory}/{state.SOCKET}")
    except OSError:
        sock.close()
        return None
    finally:
        os.close(directory)
    return sock


def status_without_monitor(state_dir: str) -> ExitStatus | None:
    """How a process ended that has no monitor any more; None if that cannot be known."""
    status = state.read_exit(state_dir)
    if status is not None:
        return status
    record = state.read_state(state_dir)
    if record is None or record.boot_id != state.boot_id():
        return None
    _end_orphan(record)
    return ExitStatus(code=KILLED, finished_ns=time.time_ns())


def _end_orphan(record: state.ProcessState) -> None:
    """Kill a process that nobody looks after, and everything in its control group."""
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        pidfd = -1
    if pidfd >= 0:
        try:
            if state.start_time_ticks(record.pid) == record.start_time_ticks:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
    if not record.owns_cgroup:
        return
    try:
        group = open_cgroups().open(record.cgroup)
        group.kill()
        group.remove()
    except (NotFound, FileNotFoundError):
        pass  # its monitor, which was about to end, has removed it
