"""The operation that opens a terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

from wherry.runtime.init_messages import Console
from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.rooted import make_in, open_in
from wherry.runtime.packets import send
from wherry.sys import mount as m
from wherry.sys.files import DEVPTS_SUPER_MAGIC, filesystem_type

# ioctl_tty(2), asm-generic/ioctls.h
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430
_TIOCGPTPEER = 0x5441


class OpenConsole(Op, frozen=True):
    """Open a new terminal of the container's own devpts and hand its master to the monitor."""

    size: tuple[int, int] | None  # rows, columns
    bind: bool  # on /dev/console
    plain: bool = False  # lines end without a carriage return, which another terminal adds

    def describe(self) -> str:
        return "open a terminal for the container"

    def execute(self, setup: Setup) -> None:
        master = open_in(setup.root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        self._check(master)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if self.size is not None:
            set_size(master, *self.size)
        if self.plain:
            attributes = termios.tcgetattr(slave)
            attributes[1] &= ~termios.ONLCR
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
        number = fcntl.ioctl(master, _TIOCGPTN, struct.pack("I", 0))
        send(setup.channel, Console(), [master])
        os.close(master)
        if self.bind:
            self._bind(setup, slave, struct.unpack("I", number)[0])
        setup.stdio = (slave, slave, slave)
        setup.console_fd = slave

    def _check(self, master: int) -> None:
        # The container may have put anything there: only the multiplexer of a devpts will do.
        found = os.fstat(master)
        if filesystem_type(master) != DEVPTS_SUPER_MAGIC or found.st_rdev != os.makedev(5, 2):
            raise OSError(errno.ENOTTY, "/dev/pts/ptmx is not a terminal multiplexer")

    def _bind(self, setup: Setup, slave: int, number: int) -> None:
        target = make_in(setup.root_fd, "/dev/console", directory=False, created=setup.created)
        name = f"/dev/pts/{number}"
        source = open_in(setup.root_fd, name, links=False)
        if os.fstat(source).st_rdev != os.fstat(slave).st_rdev:
            raise OSError(errno.ENOTTY, f"{name} is not the new terminal")
        tree = m.open_tree(source, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
        m.attach(tree, target)
        for fd in (tree, source, target):
            os.close(fd)


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Set a terminal's size in characters: TIOCSWINSZ."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
