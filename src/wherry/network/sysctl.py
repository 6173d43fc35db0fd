"""Kernel settings below /proc/sys/net, in the namespace of the calling thread (sysctl(8))."""

from __future__ import annotations

import os

_ROOT = "/proc/sys/net"
_LIMIT = 4096


def read(name: str) -> str:
    """The value of a setting such as ``ipv4/ip_forward``; empty if the kernel lacks it."""
    try:
        fd = os.open(f"{_ROOT}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, _LIMIT).decode().strip()
    finally:
        os.close(fd)


def write(name: str, value: str) -> None:
    """Set it; nothing happens where the kernel lacks it. OSError if it may not be set."""
    try:
        fd = os.open(f"{_ROOT}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def ensure(name: str, value: str) -> None:
    """Set it if it is not so already: /proc/sys may be read-only."""
    if read(name) != value:
        write(name, value)


def forward_ipv4() -> None:
    """Let the host route between its interfaces."""
    ensure("ipv4/ip_forward", "1")


def forward_ipv6() -> None:
    """The same for IPv6. Interfaces that learn their routes from advertisements go on doing so:
    a forwarding host ignores them unless accept_ra is 2 (kernel: networking/ip-sysctl)."""
    if read("ipv6/conf/all/forwarding") != "0":
        return
    for interface in os.listdir(f"{_ROOT}/ipv6/conf"):
        if interface != "default" and read(f"ipv6/conf/{interface}/accept_ra") == "1":
            write(f"ipv6/conf/{interface}/accept_ra", "2")
    write("ipv6/conf/all/forwarding", "1")
