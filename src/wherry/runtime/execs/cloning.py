"""An exec that is a clone of its server.

On version 2 of control groups a process begins in its group (CLONE_INTO_CGROUP), and a thread
cannot be in another one than its process. So a server there has a single thread, and clones itself
for each exec; the clone sets itself up (launch/spawn.py). The server serves others meanwhile.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from wherry.errors import InternalError, InvalidArgument
from wherry.runtime.launch.spawn import Child
from wherry.runtime.loop import Loop
from wherry.runtime.messages import Failed, FromInit, from_init, receive, to_error


class Cloning:
    """Listens to a clone until it executes its program, and calls ``finished`` with it, or with
    what went wrong; it is to be killed then."""

    def __init__(
        self, child: Child, loop: Loop, finished: Callable[[Child | BaseException], None]
    ) -> None:
        self._child = child
        self._loop = loop
        self._finished = finished
        self._ready = False
        loop.watch(child.channel.fileno(), select.EPOLLIN, self._on_message)

    def _on_message(self, _fd: int) -> None:
        try:
            packet = receive(self._child.channel, from_init, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except (OSError, InvalidArgument) as error:
            self._end(error)
            return
        if packet is not None:
            self._hear(packet[0])
        elif self._ready:
            self._end(self._child)
        else:
            text = "the container's set-up was killed, perhaps for lack of memory"
            self._end(InternalError(text))

    def _hear(self, message: FromInit) -> None:
        if isinstance(message, Failed):
            self._end(to_error(message.kind, message.message))
        else:
            self._ready = True  # a terminal, hooks or an agent are for starters

    def _end(self, outcome: Child | BaseException) -> None:
        self._loop.forget(self._child.channel.fileno())
        self._child.channel.close()
        self._finished(outcome)
