"""An init of our own as process 1 (``docker run --init``): it reaps, and passes signals on.

It is the process that set the container up, which forks just before it would execute the program
and stays. So it has the program's user, capabilities, filter and namespaces, and nothing else: it
closes every descriptor, and stays not dumpable, because it never executes anything: the container
cannot open its /proc/1/exe, and one that may look into any process (CAP_SYS_PTRACE) finds the
interpreter on a mount that nobody can write to (:mod:`wherry.runtime.protect`).
"""

from __future__ import annotations

import errno
import os
import signal

from wherry.runtime.ops.base import Op, Setup
from wherry.sys import caps
from wherry.sys.files import close_range
from wherry.sys.process import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    overwrite,
    prctl,
    set_name,
)

NAME = "wherry-init"

# What a defect of the init itself raises; to wait for them would hide it.
_FAULTS = {
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}
# The kernel's word to a process in the background of a terminal, which the init always is.
_OWN = {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}


class NameInit(Op, frozen=True):
    """Overwrite the engine's command line and environment, which /proc/1 would show."""

    def describe(self) -> str:
        return "name the init"

    def execute(self, setup: Setup) -> None:
        prctl(PR_SET_DUMPABLE, 0)
        fields = setup.read_proc("self/stat").rpartition(")")[2].split()
        arguments, environment = _range(fields[45:47]), _range(fields[47:49])  # proc(5), 48-51
        # Not by /proc/self, whose files are the host's root's for who is not dumpable.
        overwrite(
            arguments.start,
            NAME.encode()[: len(arguments) - 1].ljust(len(arguments), b"\0"),
        )
        overwrite(environment.start, bytes(len(environment)))
        set_name(NAME)
        os.environ.clear()


def _range(fields: list[str]) -> range:
    start, end = int(fields[0]), int(fields[1])
    if not start:
        raise OSError(errno.EPERM, "the kernel does not tell where the command line is")
    return range(start, end)


class StayAsInit(Op, frozen=True):
    """Fork; the child goes on to become the program, and this process looks after it.

    ``ambient``: all that another user than root keeps over an execve(2) (capabilities(7)), which
    this process never does, so that it has to drop the others itself. None for root.
    """

    ambient: int | None
    inheritable: int

    def describe(self) -> str:
        return "start the program below its init"

    def execute(self, setup: Setup) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # where it shares the PID namespace of others
        awaited = signal.valid_signals() - _FAULTS
        before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
        program = os.fork()
        if program:
            if self.ambient is not None:
                caps.capset(self.ambient, self.ambient, self.inheritable)
            _look_after(program, awaited)
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take_terminal() -> None:
    """Begin a process group, so that what is typed is for the program alone, and once."""
    os.setpgid(0, 0)
    try:
        os.tcsetpgrp(0, os.getpgrp())
    except OSError:
        pass  # standard input is no terminal, or none of ours


def _look_after(program: int, awaited: set[signal.Signals]) -> None:
    """Wait for signals until the program has ended; then exit as it did. Never returns."""
    close_range(0)
    status: int | None = None
    while status is None:
        received = signal.sigwaitinfo(awaited)
        number = 0 if received is None else received.si_signo
        if number == signal.SIGCHLD:
            status = _reap(program)
        elif number not in _OWN:
            _pass_on(program, number)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _reap(program: int) -> int | None:
    """Ask how all ended that have; the program's wait status if it was among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == program:
            found = status


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or has become another user by a setuid program
