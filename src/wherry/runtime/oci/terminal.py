"""Joining the caller's terminal to that of a process in the foreground."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import termios
import tty

from wherry.runtime.ops.console import set_size

_CHUNK = 32 * 1024


def proxy(master: int, pidfd: int) -> None:
    """Copy between the standard streams and a terminal's master until the process has ended.

    The caller's terminal, if it is one, is raw meanwhile and put back afterwards; it, and not the
    process's, adds the carriage returns.
    """
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin) if os.isatty(stdin) else None
    try:
        if before is not None:
            tty.setraw(stdin)
            _keep_newlines(stdin)
            _take_size(stdin, master)
        _copy(stdin, master, pidfd)
    finally:
        if before is not None:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _keep_newlines(terminal: int) -> None:
    attributes = termios.tcgetattr(terminal)
    attributes[1] |= termios.OPOST
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def _take_size(source: int, master: int) -> None:
    packed = fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8)
    rows, columns, _, _ = struct.unpack("HHHH", packed)
    set_size(master, rows, columns)


def _copy(stdin: int, master: int, pidfd: int) -> None:
    poll = select.poll()
    for fd in (stdin, master, pidfd):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if master in ready and not _pass_on(master, sys.stdout.fileno()):
            return
        if stdin in ready and not _pass_on(stdin, master):
            poll.unregister(stdin)
        if ready == {pidfd}:
            return


def _pass_on(source: int, target: int) -> bool:
    """Copy what is there; False at the end."""
    try:
        data = os.read(source, _CHUNK)
    except OSError:  # EIO: nobody has the terminal open any more
        data = b""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)
