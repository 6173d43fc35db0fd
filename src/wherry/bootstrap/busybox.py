"""The image of the distribution's static busybox."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from wherry.bootstrap.host import Lines, PackageHost
from wherry.bootstrap.trees import Node, tar_of
from wherry.errors import InternalError, NotFound

_PACKAGE = "busybox-static"
_PROGRAM_LIMIT = 16 * 1024 * 1024  # bytes

_PASSWD = b"""root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
_GROUP = b"""root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
wheel:x:10:root
www-data:x:33:
users:x:100:
nogroup:x:65534:
"""


@dataclass(frozen=True)
class Program:
    """A busybox: the file, where it came from, and the commands it knows."""

    data: bytes
    mtime: int  # seconds since the epoch, as the package has it
    version: str  # of the package
    applets: tuple[str, ...]


def find_program(host: PackageHost, lines: Lines) -> Program:
    """The host's own busybox if it is the package's static one, else the mirror's."""
    host.require("dpkg-query", "dpkg")
    installed = _installed_version(host)
    if installed:
        lines(f"taking /bin/busybox of {_PACKAGE} {installed}")
        with open("/bin/busybox", "rb") as file:
            mtime = int(os.fstat(file.fileno()).st_mtime)
            return _program(host, file.read(_PROGRAM_LIMIT), mtime, installed)
    lines(f"fetching the package {_PACKAGE}")
    return _fetch(host)


def _installed_version(host: PackageHost) -> str:
    """The version of the installed package; empty if there is none."""
    try:
        status = host.run("dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", _PACKAGE)
    except InternalError:
        return ""
    state, _, version = status.partition(" ")
    return version if state == "installed" and os.path.isfile("/bin/busybox") else ""


def _fetch(host: PackageHost) -> Program:
    host.require("apt-get", "apt")
    with tempfile.TemporaryDirectory(dir=host.temp_dir) as directory:
        try:
            host.run("apt-get", "-q", "download", _PACKAGE, cwd=directory)
        except InternalError as error:
            raise NotFound(
                f"cannot fetch {_PACKAGE} from the host's package mirror (has apt-get update been "
                f"run?): {error}"
            ) from error
        (name,) = (n for n in os.listdir(directory) if n.endswith(".deb"))
        package = os.path.join(directory, name)
        version = host.run("dpkg-deb", "-f", package, "Version").strip()
        archive = os.path.join(directory, "data.tar")
        host.run("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" >"$2"', "sh", package, archive)
        return _program(host, *_member(archive), version)


def _member(archive: str) -> tuple[bytes, int]:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.lstrip("./")
            if member.isfile() and path in ("bin/busybox", "usr/bin/busybox"):
                file = tar.extractfile(member)
                return file.read(_PROGRAM_LIMIT) if file else b"", int(member.mtime)
    raise NotFound(f"the package {_PACKAGE} holds no busybox")


def _program(host: PackageHost, data: bytes, mtime: int, version: str) -> Program:
    """Ask the program for its commands. It runs on the host: it is the distribution's."""
    with tempfile.TemporaryDirectory(dir=host.temp_dir) as directory:
        path = os.path.join(directory, "busybox")
        with open(path, "wb", opener=lambda p, flags: os.open(p, flags, 0o755)) as file:
            file.write(data)
        applets = host.run(path, "--list").split()
    return Program(data, mtime, version, tuple(sorted(set(applets) - {"busybox"})))


def layer(program: Program) -> BytesIO:
    """The image's only layer, uncompressed."""
    return BytesIO(tar_of(_nodes(program), program.mtime))


def _nodes(program: Program) -> Iterator[Node]:
    for name in ("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "usr/sbin", "sbin"):
        yield Node(f"{name}/")
    yield Node("root/", mode=0o700)
    yield Node("tmp/", mode=0o1777)
    for name in ("var", "var/log", "var/spool", "var/www"):
        yield Node(f"{name}/")
    yield Node("var/tmp/", mode=0o1777)
    yield Node("etc/passwd", _PASSWD, 0o644)
    yield Node("etc/group", _GROUP, 0o644)
    yield Node("bin/busybox", program.data)
    for applet in program.applets:
        yield Node(f"bin/{applet}", link="busybox")
    yield Node("usr/bin/env", link="../../bin/busybox")  # where scripts look for it
