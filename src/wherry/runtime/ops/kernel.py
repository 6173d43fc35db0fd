"""Operations on what a process has from the kernel: namespaces, names, sysctls, limits."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import struct
from collections.abc import Sequence
from contextlib import closing

from wherry.errors import Conflict, NotSupported, PermissionDenied
from wherry.runtime.init_messages import Waiting, to_init
from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.packets import receive, send
from wherry.sys.files import PROC_SUPER_MAGIC, filesystem_type
from wherry.sys.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    setdomainname,
    sethostname,
    setns,
    unshare,
)
from wherry.sys.process import ioprio_set, join_session_keyring, personality, sched_setattr

_ROOM = 1024  # bytes, for what the monitor says
# netdevice(7), "Ioctls": the flags of an interface in a struct ifreq
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sH22x")


def wait_for(setup: Setup, step: str) -> list[int]:
    """Wait until the monitor has done its part; the descriptors that it has sent."""
    packet = receive(setup.channel, to_init, room=_ROOM)
    if packet is None or packet[0].step != step:
        os._exit(1)  # the monitor has gone or given up: nobody is left to tell
    return packet[1]


class AwaitMappings(Op, frozen=True):
    """Wait for the ids of the new user namespace, and become root in it."""

    def describe(self) -> str:
        return "become root in the user namespace"

    def execute(self, setup: Setup) -> None:
        wait_for(setup, "mappings")
        become_root()


class BecomeRoot(Op, frozen=True):
    """Become root in the user namespace that was just entered."""

    def describe(self) -> str:
        return "become root in the user namespace"

    def execute(self, setup: Setup) -> None:
        become_root()


def become_root() -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


class JoinCgroup(Op, frozen=True):
    """Wait until the control group exists, enter it, and make it its namespace's root.

    On cgroup v1 the process itself writes "0" to each ``tasks`` file. Being moved from outside, by
    ``cgroup.procs``, does the same, but makes the kernel wait for an RCU grace period (10 ms and
    more, where this takes 0.3 ms): a single thread that moves itself needs no lock against forks.
    """

    tasks: tuple[str, ...]  # empty: the parent moves the process
    unshare: bool

    def describe(self) -> str:
        return "enter the control group"

    def execute(self, setup: Setup) -> None:
        stdio = wait_for(setup, "cgroup")
        if stdio:
            setup.stdio = (stdio[0], stdio[1], stdio[2])
        self.enter()
        if self.unshare:
            unshare(CLONE_NEWCGROUP)

    def enter(self) -> None:
        """Move the calling thread."""
        for path in self.tasks:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)


class AwaitHooks(Op, frozen=True):
    """Let the monitor run the hooks of the host's side (prestart, createRuntime)."""

    def describe(self) -> str:
        return "run the hooks"

    def execute(self, setup: Setup) -> None:
        send(setup.channel, Waiting())
        wait_for(setup, "hooks")


class JoinNamespace(Op, frozen=True):
    """Enter an existing namespace by the path of its file."""

    path: str
    flag: int

    def describe(self) -> str:
        return f"enter the namespace {self.path}"

    def execute(self, setup: Setup) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, self.flag)
        finally:
            os.close(fd)


class JoinPassedNetwork(Op, frozen=True):
    """Enter the network namespace whose descriptor came with the request."""

    def describe(self) -> str:
        return "enter the container's network namespace"

    def execute(self, setup: Setup) -> None:
        if setup.netns_fd is None:
            raise OSError(errno.EBADF, "no descriptor was passed")
        setns(setup.netns_fd, CLONE_NEWNET)


class RaiseLoopback(Op, frozen=True):
    """Let a new network namespace be reached by itself: its loopback is down at first."""

    def describe(self) -> str:
        return "set the loopback interface up"

    def execute(self, setup: Setup) -> None:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", _IFF_UP))


def join(pidfd: int, flags: int) -> None:
    """Enter a container's namespaces. Conflict if it is about to end: its first process is in none
    any more then, but poll(2) does not tell of its end before all others have gone."""
    try:
        setns(pidfd, flags)
    except ProcessLookupError:
        raise Conflict("the container has ended") from None


class JoinContainer(Op, frozen=True):
    """Enter all namespaces of a running container at once (setns(2) with a pidfd)."""

    flags: int

    def describe(self) -> str:
        return "enter the container's namespaces"

    def execute(self, setup: Setup) -> None:
        if setup.pidfd is None:
            raise OSError(errno.EBADF, "no container was given")
        join(setup.pidfd, self.flags)
        setup.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


class JoinKeyring(Op, frozen=True):
    """Take a fresh session keyring, so that the host's keys cannot be reached."""

    name: str

    def describe(self) -> str:
        return "make a session keyring"

    def execute(self, setup: Setup) -> None:
        try:
            join_session_keyring(self.name)
        except OSError as error:
            # Kernels without keyrings have none to leak; a full quota is runc's known exception.
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
                raise


class CheckLabel(Op, frozen=True):
    """Find out whether mounts can have labels: the kernel only says that an option is wrong."""

    label: str

    def describe(self) -> str:
        return f"set the SELinux label {self.label!r} of mounts"

    def execute(self, setup: Setup) -> None:
        if "selinuxfs" not in setup.read_proc("filesystems"):
            raise NotSupported(
                f"cannot {self.describe()}: this kernel runs without SELinux; leave the label out"
            )


class SetNames(Op, frozen=True):
    """Set the host's and the domain's name of the UTS namespace."""

    hostname: str
    domainname: str

    def describe(self) -> str:
        return f"set the host name {self.hostname!r}"

    def execute(self, setup: Setup) -> None:
        if self.hostname:
            sethostname(self.hostname)
        if self.domainname:
            setdomainname(self.domainname)


class WriteSysctl(Op, frozen=True):
    """Set one kernel parameter of the container's namespaces."""

    name: str  # with slashes, below /proc/sys
    value: str

    def describe(self) -> str:
        return f"set the sysctl {self.name.replace('/', '.')} to {self.value!r}"

    def execute(self, setup: Setup) -> None:
        fd = os.open(f"sys/{self.name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=setup.proc_fd)
        try:
            if filesystem_type(fd) != PROC_SUPER_MAGIC:
                raise OSError(errno.EXDEV, "the file is not on a procfs")
            os.write(fd, self.value.encode())
        finally:
            os.close(fd)


class SetRlimit(Op, frozen=True):
    """Set one resource limit (setrlimit(2)); -1 is unlimited."""

    name: str
    number: int
    soft: int
    hard: int

    def describe(self) -> str:
        return f"set {self.name} to {self.soft}:{self.hard}"

    def execute(self, setup: Setup) -> None:
        try:
            resource.setrlimit(self.number, (self.soft, self.hard))
        except ValueError:  # the module's word for EPERM here
            _, present = resource.getrlimit(self.number)
            raise PermissionDenied(
                f"cannot {self.describe()}: this engine may not raise the hard limit above "
                f"{present}; start it with CAP_SYS_RESOURCE or ask for less"
            ) from None


class SetOomScore(Op, frozen=True):
    """Set how likely the kernel is to kill the process for lack of memory."""

    value: int

    def describe(self) -> str:
        return f"set the OOM score adjustment to {self.value}"

    def execute(self, setup: Setup) -> None:
        try:
            setup.write_proc("self/oom_score_adj", str(self.value))
        except PermissionError:
            present = int(setup.read_proc("self/oom_score_adj"))
            if present != self.value:
                raise PermissionDenied(
                    f"cannot {self.describe()}: this engine may not lower it below {present}; "
                    "start it with CAP_SYS_RESOURCE or ask for more"
                ) from None


class SetIoPriority(Op, frozen=True):
    io_class: int
    priority: int

    def describe(self) -> str:
        return "set the I/O priority"

    def execute(self, setup: Setup) -> None:
        ioprio_set(self.io_class, self.priority)


class SetScheduler(Op, frozen=True):
    policy: int
    flags: int
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int

    def describe(self) -> str:
        return "set the scheduling policy"

    def execute(self, setup: Setup) -> None:
        sched_setattr(
            self.policy,
            flags=self.flags,
            nice=self.nice,
            priority=self.priority,
            runtime=self.runtime,
            deadline=self.deadline,
            period=self.period,
        )


class SetAffinity(Op, frozen=True):
    """Bind the process to processors (sched_setaffinity(2))."""

    cpus: Sequence[int]

    def describe(self) -> str:
        return "set the processor affinity"

    def execute(self, setup: Setup) -> None:
        os.sched_setaffinity(0, self.cpus)


class SetPersonality(Op, frozen=True):
    persona: int

    def describe(self) -> str:
        return "set the personality"

    def execute(self, setup: Setup) -> None:
        personality(self.persona)
