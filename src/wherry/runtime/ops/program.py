"""The last operations: become the container's user and its program."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat

from wherry.errors import InternalError, InvalidArgument, NotSupported, WherryError
from wherry.runtime.init_messages import Ready
from wherry.runtime.ops.base import Op, Setup, reason
from wherry.runtime.ops.rooted import make_in, open_in
from wherry.runtime.outcome import CommandNotExecutable, CommandNotFound
from wherry.runtime.packets import send
from wherry.sys import caps, credentials
from wherry.sys.files import close_range
from wherry.sys.process import (
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    execve,
    prctl,
    seccomp_set_filter,
)

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_TIOCSCTTY = 0x540E  # ioctl_tty(2), asm-generic/ioctls.h
_PASSWD_LIMIT = 4 * 1024 * 1024
_SYS_ADMIN = 1 << caps.NUMBERS["CAP_SYS_ADMIN"]


class FindHome(Op, frozen=True):
    """Take the environment, with HOME from the container's own passwd(5) if it is not given."""

    env: tuple[str, ...]
    uid: int

    def describe(self) -> str:
        return "read /etc/passwd in the container"

    def execute(self, setup: Setup) -> None:
        # Of several values of a variable the last one counts, and it is passed once.
        variables = {entry.partition("=")[0]: os.fsencode(entry) for entry in self.env}
        if variables.get("HOME", b"HOME=") == b"HOME=":
            variables["HOME"] = b"HOME=" + (self._home(setup) or b"/")
        setup.env = list(variables.values())

    def _home(self, setup: Setup) -> bytes:
        try:
            fd = open_in(setup.root_fd, "/etc/passwd", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return b""
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return b""
            return home_of(os.read(fd, _PASSWD_LIMIT), self.uid)
        finally:
            os.close(fd)


def home_of(passwd: bytes, uid: int) -> bytes:
    """The home directory of a user id in the text of a passwd(5) file; empty if there is none."""
    wanted = str(uid).encode()
    for line in passwd.splitlines():
        fields = line.split(b":")
        if len(fields) >= 7 and fields[2] == wanted:
            return fields[5]
    return b""


class MakeWorkingDirectory(Op, frozen=True):
    """Make the working directory if the image lacks it, as Docker's runtime does."""

    path: str

    def describe(self) -> str:
        return f"make the working directory {self.path}"

    def execute(self, setup: Setup) -> None:
        os.close(make_in(setup.root_fd, self.path, directory=True, created=[]))


class SetStdio(Op, frozen=True):
    """Put standard input, output and error in place, owned by the container's user."""

    uid: int

    def describe(self) -> str:
        return "set up the standard streams"

    def execute(self, setup: Setup) -> None:
        os.setsid()
        self.place(setup)

    def place(self, setup: Setup) -> None:
        """The streams without the session."""
        if setup.stdio is not None:
            for number, fd in enumerate(setup.stdio):
                os.dup2(fd, number, inheritable=True)
        if setup.console_fd is not None:
            fcntl.ioctl(0, _TIOCSCTTY, 0)
        for number in (0, 1, 2):
            self._own(setup, number)

    def _own(self, setup: Setup, fd: int) -> None:
        # So that the program may open /dev/stdout again.
        found = os.fstat(fd)
        if is_null_device(found):
            use_own_null(setup.root_fd, fd)
            return
        if found.st_uid == self.uid:
            return
        try:
            os.fchown(fd, self.uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                raise


def is_null_device(found: os.stat_result) -> bool:
    """Whether this is a null(4) device."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)


def use_own_null(root_fd: int, number: int) -> None:
    """Put the container's null device in the place of the host's, whose mode and owner its root
    could change (chmod(2) on /dev/stdin). A stream that is read may be an empty pipe instead,
    where the container has no null device; for one that is written OSError tells."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = open_in(root_fd, "/dev/null", flags)
    except OSError:
        fd = -1
    if fd >= 0 and not is_null_device(os.fstat(fd)):
        os.close(fd)
        fd = -1
    if fd >= 0:
        os.set_blocking(fd, True)
    elif number == 0:
        fd, writer = os.pipe()
        os.close(writer)
    else:
        raise OSError(errno.ENODEV, "the container has no null device at /dev/null")
    os.dup2(fd, number, inheritable=True)
    os.close(fd)


class SetSecurityLabel(Op, frozen=True):
    """Ask a Linux security module to change the label, at the next execve(2) or now.

    A thread can ask for itself only; what it then makes by clone(2) has asked, too.
    """

    attribute: str  # a file below /proc/self/attr
    value: str
    module: str

    def describe(self) -> str:
        return f"set the {self.module} label {self.value!r}"

    def execute(self, setup: Setup) -> None:
        if not self._is_known(setup):
            raise NotSupported(
                f"cannot {self.describe()}: this kernel runs without {self.module}; leave the "
                "label out"
            )
        try:
            setup.write_proc(f"thread-self/attr/{self.attribute}", self.value)
        except FileNotFoundError:
            raise InvalidArgument(f"cannot {self.describe()}: it is not loaded") from None

    def _is_known(self, setup: Setup) -> bool:
        # The files without a module's name are those of whichever module came first.
        if self.module == "SELinux":
            return "selinuxfs" in setup.read_proc("filesystems")
        return setup.has_proc(f"thread-self/attr/{self.attribute}")


class BecomeUser(Op, frozen=True):
    """Take the user's ids and the container's capabilities (capabilities(7), credentials(7))."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    keep_admin: bool  # until the system call filter is loaded

    def describe(self) -> str:
        return f"become the user {self.uid}:{self.gid}"

    def execute(self, setup: Setup) -> None:
        caps.drop_bounding(self.bounding)
        prctl(PR_SET_KEEPCAPS, 1)
        credentials.setgroups(self.groups)
        credentials.setresgid(self.gid)
        credentials.setresuid(self.uid)
        # A change of ids makes it what fs.suid_dumpable says (proc_sys_fs(5)): 1 on some hosts.
        prctl(PR_SET_DUMPABLE, 0)
        prctl(PR_SET_KEEPCAPS, 0)
        extra = _SYS_ADMIN if self.keep_admin else 0
        caps.capset(self.effective | extra, self.permitted | extra, self.inheritable)
        caps.set_ambient(self.ambient)
        os.umask(self.umask)


class ChangeDirectory(Op, frozen=True):
    """Go to the working directory, as root first and, if refused, as the user."""

    path: str
    again: bool

    def describe(self) -> str:
        return f"change to the working directory {self.path}"

    def execute(self, setup: Setup) -> None:
        if setup.in_directory:
            return
        try:
            os.chdir(self.path)
        except PermissionError:
            if self.again:
                raise
            return
        self._check()
        setup.in_directory = True

    def _check(self) -> None:
        # A descriptor leaked from the host could lead outside of the root (CVE-2024-21626).
        try:
            inside = os.getcwd().startswith("/")
        except FileNotFoundError:
            inside = False
        if not inside:
            raise InvalidArgument(f"the working directory {self.path!r} is outside the container")


class FindProgram(Op, frozen=True):
    """Search the program in the container's PATH, as the user who will run it."""

    name: str

    def describe(self) -> str:
        return f"find {self.name}"

    def execute(self, setup: Setup) -> None:
        if "/" in self.name:
            self._check(self.name)
            setup.program = self.name
            return
        for directory in self._path(setup.env):
            candidate = os.path.join(directory or ".", self.name)
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK, effective_ids=True):
                setup.program = candidate
                return
        raise CommandNotFound(f"exec: {_quote(self.name)}: executable file not found in $PATH")

    def _check(self, path: str) -> None:
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            text = f"exec: {_quote(path)}: stat {path}: {reason_only(error)}"
            raise CommandNotFound(text) from None
        except OSError as error:
            text = f"exec: {_quote(path)}: stat {path}: {reason_only(error)}"
            raise CommandNotExecutable(text) from None
        if stat.S_ISDIR(found.st_mode):
            raise CommandNotExecutable(f"exec: {_quote(path)}: is a directory")
        if not os.access(path, os.X_OK, effective_ids=True):
            raise CommandNotExecutable(f"exec: {_quote(path)}: permission denied")

    def _path(self, env: list[bytes]) -> list[str]:
        for entry in reversed(env):
            if entry.startswith(b"PATH="):
                return os.fsdecode(entry[5:]).split(":")
        return []


def _quote(text: str) -> str:
    """A Go string literal, as the texts that clients recognise have it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def reason_only(error: OSError) -> str:
    """What an OSError says, in the words of the Go library."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


class NoNewPrivileges(Op, frozen=True):
    """Never gain privileges by executing a program (PR_SET_NO_NEW_PRIVS)."""

    def describe(self) -> str:
        return "set no-new-privileges"

    def execute(self, setup: Setup) -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)


class AnnounceReady(Op, frozen=True):
    """Tell the monitor that all but the execution is done, and tie the process's life to it."""

    die_with_parent: bool

    def describe(self) -> str:
        return "report to the monitor"

    def execute(self, setup: Setup) -> None:
        if self.die_with_parent:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        send(setup.channel, Ready(tuple(setup.created)))


class LoadSeccomp(Op, frozen=True):
    """Load the system call filter; the operations after it must pass it."""

    program: bytes
    flags: int

    def describe(self) -> str:
        return "load the seccomp filter"

    def execute(self, setup: Setup) -> None:
        seccomp_set_filter(self.program, self.flags)


class DropAdmin(Op, frozen=True):
    """Give up the CAP_SYS_ADMIN that loading a filter needed."""

    effective: int
    permitted: int
    inheritable: int

    def describe(self) -> str:
        return "drop CAP_SYS_ADMIN"

    def execute(self, setup: Setup) -> None:
        caps.capset(self.effective, self.permitted, self.inheritable)


class CloseDescriptors(Op, frozen=True):
    """Close every descriptor but the standard streams, ``keep`` after them, and our own two.

    Before the working directory and the program are looked up: either may be a name below
    /proc/self/fd, and must not find the host there (CVE-2024-21626).
    """

    keep: int = 0

    def describe(self) -> str:
        return "close the inherited files"

    def execute(self, setup: Setup) -> None:
        first = 3 + self.keep
        ours = (setup.channel.fileno(), setup.start_fd, setup.prepared.listener)
        for fd in sorted(fd for fd in ours if fd is not None):
            if first < fd:
                close_range(first, fd - 1)
            first = max(first, fd + 1)
        close_range(first)


class AwaitStart(Op, frozen=True):
    """Wait for the ``start`` of a container that was created (runtime.md, "Lifecycle")."""

    def describe(self) -> str:
        return "wait for the start"

    def execute(self, setup: Setup) -> None:
        if setup.start_fd is not None:
            setup.channel.close()
            # The kernel spares the first process of a PID namespace signals it does not expect.
            for number in _ENDING:
                signal.signal(number, lambda received, _: os._exit(128 + received))
            os.read(setup.start_fd, 1)
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)
            os.close(setup.start_fd)


class Execute(Op, frozen=True):
    """Become the program."""

    args: tuple[str, ...]

    def describe(self) -> str:
        return f"execute {self.args[0]}"

    def execute(self, setup: Setup) -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        try:
            execve(setup.program, [os.fsencode(arg) for arg in self.args], setup.env)
        except OSError as error:
            raise self.failure(setup, error) from None

    def failure(self, setup: Setup, error: OSError) -> WherryError:
        """What the caller is told of a program that cannot be executed."""
        if isinstance(error, FileNotFoundError):
            # The file was there a moment ago: what lacks is the interpreter that it names.
            return CommandNotFound(f"exec {setup.program}: {reason_only(error)}")
        if error.errno in (errno.ENOMEM, errno.EAGAIN, errno.E2BIG):
            return InternalError(f"cannot {self.describe()}: {reason(error)}")
        return CommandNotExecutable(f"exec {setup.program}: {reason_only(error)}")
