"""Runs inside a container and prints, as one JSON object, what it may do.

It needs nothing but Python's standard library. Every system call is tried by its number, with -1
for each argument (a bad pointer, descriptor, process and flag), in a child that does nothing else.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Iterator

CALLS = 512
X32 = 0x40000000
REACHED, REFUSED, UNKNOWN = "reached", "EPERM", "ENOSYS"
# sync(2) writes all of the host's disks. brk(2) answers with an address, which is ~0 where the
# heap is so low that it can grow to there.
NOT_TRIED = {"x86_64": {162}, "i386": {36, 45}, "x32": {162}}

_NUMBER = b"\x89\xf8"  # mov eax, edi
_ARGS_64 = b"".join(
    # mov rdi, rsi, rdx, r10, r8 and r9, -1
    register + b"\xff\xff\xff\xff"
    for register in (
        b"H\xc7\xc7",
        b"H\xc7\xc6",
        b"H\xc7\xc2",
        b"I\xc7\xc2",
        b"I\xc7\xc0",
        b"I\xc7\xc1",
    )
)
_ARGS_32 = b"".join(
    bytes([code]) + b"\xff\xff\xff\xff" for code in (0xBB, 0xB9, 0xBA, 0xBE, 0xBF, 0xBD)
)
_EXIT = (
    b"\x31\xff"  # xor edi, edi: reached
    b"\x83\xf8\xff\x75\x05\xbf\x01\x00\x00\x00"  # cmp eax, -EPERM; jne; mov edi, 1
    b"\x83\xf8\xda\x75\x05\xbf\x02\x00\x00\x00"  # cmp eax, -ENOSYS; jne; mov edi, 2
    b"\xb8\xe7\x00\x00\x00\x0f\x05"  # exit_group
)
_OUTCOMES = {0: REACHED, 1: REFUSED, 2: UNKNOWN}


class Caller:
    """One way into the kernel, in machine code that ends the process it runs in."""

    def __init__(self, args: bytes, enter: bytes) -> None:
        code = _NUMBER + args + enter + _EXIT
        self._page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_uint)(address)

    def outcome(self, number: int) -> str:
        """What becomes of a call. One that ends the process (exit(2), or by a signal that is not
        the filter's) was reached, too."""
        child = os.fork()
        if child == 0:
            signal.setitimer(signal.ITIMER_REAL, 0.5)  # pause(2) and its like
            self._call(number)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == -signal.SIGSYS:
            return "killed"
        return REACHED if status < 0 else _OUTCOMES.get(status, REACHED)


def system_calls() -> dict[str, list[str] | None]:
    by_syscall = Caller(_ARGS_64, b"\x0f\x05")
    by_interrupt = Caller(_ARGS_32, b"\xcd\x80")
    has_32_bit = _survives(by_interrupt)

    def tried(table: str, caller: Caller, bit: int = 0) -> list[str]:
        skip = NOT_TRIED[table]
        return ["" if n in skip else caller.outcome(n | bit) for n in range(CALLS)]

    return {
        "x86_64": tried("x86_64", by_syscall),
        "x32": tried("x32", by_syscall, X32),
        "i386": tried("i386", by_interrupt) if has_32_bit else None,
    }


def _survives(caller: Caller) -> bool:
    """A kernel without 32-bit calls kills who tries one; getpid(2) is number 20 there."""
    child = os.fork()
    if child == 0:
        caller._call(20)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def status() -> dict[str, str]:
    wanted = ("Cap", "NoNewPrivs", "Seccomp:", "Groups", "Uid", "Gid", "Umask")
    with open("/proc/self/status") as file:
        pairs = [line.split(":", 1) for line in file if line.startswith(wanted)]
    found = {name: " ".join(value.split()) for name, value in pairs}
    get_securebits = 27  # linux/prctl.h
    return found | {"securebits": str(ctypes.CDLL(None).prctl(get_securebits, 0, 0, 0, 0))}


def kernel_files(top: str) -> Iterator[str]:
    """Files below ``top`` that have a right to write and can be opened for it, but for those of
    other processes. What has none can be opened by root, and takes nothing."""
    for directory, names, files in os.walk(top):
        if directory == "/proc":
            names[:] = [name for name in names if not name.isdigit()]
        if directory == top and top != "/proc":
            names[:] = [name for name in names if name not in ("task", "fd", "fdinfo", "map_files")]
        for name in files:
            path = f"{directory}/{name}"
            if os.lstat(path).st_mode & 0o222 and _opens(path, os.O_WRONLY):
                yield path.replace(f"/proc/{os.getpid()}/", "/proc/self/")


def _opens(path: str, mode: int) -> bool:
    try:
        os.close(os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def devices() -> list[str]:
    """Nodes that can be made and opened, of all of a wide range, and with which access."""
    found = []
    for kind, flag in (("c", stat.S_IFCHR), ("b", stat.S_IFBLK)):
        for major in range(260):
            for minor in (*range(12), 200, 229):  # tun and fuse
                os.mknod("/dev/probe", flag | 0o666, os.makedev(major, minor))
                modes = {"r": os.O_RDONLY, "w": os.O_WRONLY}
                access = [name for name, mode in modes.items() if _opens("/dev/probe", mode)]
                os.unlink("/dev/probe")
                if access:
                    found.append(f"{kind} {major}:{minor} {''.join(access)}")
    return found


def nodes() -> list[str]:
    """What is in /dev when a container starts."""
    found = []
    for name in sorted(os.listdir("/dev")):
        about = os.lstat(f"/dev/{name}")
        if stat.S_ISLNK(about.st_mode):
            found.append(f"{name} -> {os.readlink(f'/dev/{name}')}")
        elif stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode):
            found.append(f"{name} {os.major(about.st_rdev)}:{os.minor(about.st_rdev)}")
        else:
            found.append(f"{name}/" if stat.S_ISDIR(about.st_mode) else name)
    return found


def mounts() -> list[list[str]]:
    """Place, type and options of the mount itself."""
    with open("/proc/self/mountinfo") as file:
        rows = [line.split(" - ") for line in file]
    pairs = [(row[0].split(), row[1].split()) for row in rows]
    return [[before[4], after[0], before[5]] for before, after in pairs]


def contents(paths: list[str]) -> dict[str, int]:
    """How much there is to read in each path: bytes of a file, names in a directory."""
    found = {}
    for path in paths:
        try:
            if os.path.isdir(path):
                found[path] = len(os.listdir(path))
            else:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                found[path] = len(os.read(fd, 100))
                os.close(fd)
        except OSError:
            found[path] = 0
    return found


def families() -> list[int]:
    """Families of sockets that are refused, by whatever type."""
    refused = []
    for family in range(46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except PermissionError:
                refused.append(family)
            except OSError:
                continue
    return sorted(set(refused))


def main() -> None:
    report = {
        # The directory that is being listed is open, too.
        "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "status": status(),
        "namespaces": {
            name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")
        },
        "limits": {str(one): resource.getrlimit(one) for one in range(16)},
        "nodes": nodes(),
        "mounts": mounts(),
        "masked": contents(json.loads(sys.argv[1])),
        "writable": sorted(
            path for top in ("/proc", f"/proc/{os.getpid()}", "/sys") for path in kernel_files(top)
        ),
        "devices": devices(),
        "families": families(),
        "calls": system_calls(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
