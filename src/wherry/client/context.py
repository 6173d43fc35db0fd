"""Pack a directory as a build's context: a tar stream, made while it is sent.

Ownership is 0:0 as with Docker. Symbolic links stay links, also those that lead out; hard links
within the context stay hard links; sockets are left out, as no archive can hold them. Entries
come in order of their names, so that the same directory gives the same stream.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator

from wherry.client.ignore import IgnoreRules, parse_ignore_file
from wherry.errors import InvalidArgument, NotFound

_CHUNK = 256 * 1024
_END = b"\0" * 1024  # two empty records
_NAMES_WITH_COLONS = "SCHILY.xattr.security.capability"
_CAPABILITY = "security.capability"


class BuildContext:
    """A directory with the rules for what of it a build may see.

    ``dockerfile`` is relative to the directory, or absolute; one outside of the directory travels
    in the archive under a name of its own (:attr:`dockerfile_name`).
    """

    def __init__(self, directory: str, dockerfile: str = "") -> None:
        self.directory = os.path.abspath(directory)
        if not os.path.isdir(self.directory):
            raise NotFound(f'unable to prepare context: path "{directory}" is not a directory')
        self._dockerfile = os.path.join(self.directory, dockerfile or "Dockerfile")
        if not os.path.isfile(self._dockerfile):
            raise NotFound(
                f"unable to prepare context: there is no Dockerfile at {self._dockerfile}: "
                "make one, or name another with -f"
            )
        relative = os.path.relpath(self._dockerfile, self.directory)
        self._outside = relative.startswith("../")
        self.dockerfile_name = f".dockerfile.{os.urandom(8).hex()}" if self._outside else relative

    def archive(self) -> Iterator[bytes]:
        """The tar stream."""
        keep = {self.dockerfile_name, ".dockerignore"}
        writer = _Writer()
        for path in _walk(self.directory, "", self._rules(), keep):
            yield from writer.entry(os.path.join(self.directory, path), path)
        if self._outside:
            yield from writer.entry(self._dockerfile, self.dockerfile_name)
        yield _END

    def _rules(self) -> IgnoreRules:
        """``NAME.dockerignore`` beside the Dockerfile wins over the context's."""
        own = f"{self._dockerfile}.dockerignore"
        for path in (own, os.path.join(self.directory, ".dockerignore")):
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as source:
                    return parse_ignore_file(source.read())
            except FileNotFoundError:
                continue
        return IgnoreRules(())


def single_file_archive(name: str, content: bytes) -> Iterator[bytes]:
    """A context that holds nothing but a Dockerfile, as ``build -`` sends it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    yield info.tobuf(tarfile.PAX_FORMAT) + content + _padding(len(content)) + _END


def _walk(root: str, below: str, rules: IgnoreRules, keep: set[str]) -> Iterator[str]:
    """Relative paths to pack. An excluded directory is searched if something in it may be wanted,
    and packed only for the sake of that."""
    try:
        names = sorted(os.listdir(os.path.join(root, below)))
    except PermissionError as error:
        raise InvalidArgument(f"cannot read the build context: {error}") from None
    for name in names:
        path = f"{below}/{name}" if below else name
        mode = os.lstat(os.path.join(root, path)).st_mode
        wanted = path in keep or not rules.excluded(path)
        if stat.S_ISSOCK(mode):
            continue
        if not stat.S_ISDIR(mode):
            if wanted:
                yield path
            continue
        yield from _walk_directory(root, path, rules, keep, wanted)


def _walk_directory(
    root: str, path: str, rules: IgnoreRules, keep: set[str], wanted: bool
) -> Iterator[str]:
    if wanted:
        yield path
    elif not rules.includes and not any(name.startswith(f"{path}/") for name in keep):
        return
    first = not wanted
    for inner in _walk(root, path, rules, keep):
        if first:
            yield path
            first = False
        yield inner


class _Writer:
    """Turns files into tar entries, remembering inodes for hard links."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], str] = {}

    def entry(self, path: str, name: str) -> Iterator[bytes]:
        """Header and content of one file. It is opened first and looked at then."""
        info = tarfile.TarInfo(name)
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            yield _special(info, path, status)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            inode = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and inode in self._seen:
                info.type, info.linkname = tarfile.LNKTYPE, self._seen[inode]
                yield _header(info, status)
                return
            self._seen[inode] = name
            info.size = status.st_size
            info.pax_headers = _capability(descriptor)
            yield _header(info, status)
            yield from _content(descriptor, path, status.st_size)
        finally:
            os.close(descriptor)


def _header(info: tarfile.TarInfo, status: os.stat_result) -> bytes:
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = int(status.st_mtime)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _special(info: tarfile.TarInfo, path: str, status: os.stat_result) -> bytes:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISFIFO(mode):
        info.type = tarfile.FIFOTYPE
    else:
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return _header(info, status)


def _capability(descriptor: int) -> dict[str, str]:
    """The one extended attribute that Docker sends, as a PAX record."""
    try:
        value = os.getxattr(descriptor, _CAPABILITY)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return {}
        raise
    return {_NAMES_WITH_COLONS: value.decode("utf-8", "surrogateescape")}


def _content(descriptor: int, path: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        data = os.read(descriptor, min(left, _CHUNK))
        if not data:
            raise InvalidArgument(f"{path} became shorter while it was sent to the build")
        left -= len(data)
        yield data
    yield _padding(size)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)
