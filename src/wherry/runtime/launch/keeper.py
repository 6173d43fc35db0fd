"""A monitor's beginning: wait with a starter at hand, then look after what it has started.

Every page that a monitor touches is a page of its own. So this file does as little as it can, with
plain numbers in place of objects: until something happens to its process, a monitor has not even
read what it was told about it.
"""

from __future__ import annotations

import os
import select
import signal
import socket

import msgspec

from wherry.runtime import state
from wherry.runtime.host import Host
from wherry.runtime.loop import Loop
from wherry.runtime.messages import GUARD, MAX_PACKET, NOT_NEEDED, Keep, receive_packet
from wherry.runtime.monitor.monitor import Monitor
from wherry.sys.faults import reach
from wherry.sys.process import PR_SET_CHILD_SUBREAPER, prctl

_decoder = msgspec.json.Decoder(Keep)


def wait(channel: socket.socket, starter: int, host: Host) -> None:
    """Wait for what the starter (a child) hands over, then be its monitor to the end.

    Until the starter is gone this process is a subreaper: what it has spawned becomes its child.
    """
    data, fds, _ = receive_packet(channel, MAX_PACKET)
    while data.startswith(NOT_NEEDED):
        os.waitpid(int(data[1:]), 0)
        data, fds, _ = receive_packet(channel, MAX_PACKET)
    if data == GUARD:  # of an exec server, which ends as a start does that failed
        os.dup2(0, 2)
        data, fds, _ = receive_packet(channel, MAX_PACKET)
    channel.close()
    os.waitpid(starter, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 0)
    if not data:
        _end_failed()
        return
    reach("monitor.handed")
    os.dup2(0, 2)  # the engine's standard error is not kept open
    poll = select.poll()
    for fd in fds[: data[0]]:
        poll.register(fd, select.POLLIN)
    poll.poll()
    del poll
    try:
        Monitor(_decoder.decode(data[1:]), fds, host.cgroups, Loop()).run()
    except BaseException:  # noqa: BLE001 - a defect of ours, for which nobody listens
        _leave_trace(fds[data[0]])


def _end_failed() -> None:
    """End and reap the process of a start that failed. Nobody will look after it; and left to the
    host's first process, it could be seen in the container for a while."""
    own = os.getpid()
    try:
        with open(f"/proc/self/task/{own}/children") as file:
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGKILL)  # its number is its own until it is reaped
                os.waitpid(int(pid), 0)
    except FileNotFoundError:
        pass  # a kernel without CONFIG_PROC_CHILDREN; what a starter begins, it also ends


def _leave_trace(directory: int) -> None:
    """Write down what a monitor died of; its process dies with it."""
    import traceback

    state.write_atomically(directory, state.CRASH, traceback.format_exc().encode())
