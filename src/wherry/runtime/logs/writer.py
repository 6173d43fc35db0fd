"""Writing logs, from the monitor: append, rotate by size, compress what was rotated."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Protocol

from wherry.errors import InvalidArgument
from wherry.runtime.api import LogSettings
from wherry.runtime.logs import formats
from wherry.runtime.logs.lines import Entry

_MODE = 0o640


class LogWriter(Protocol):
    """Keeps entries of the streams 1 (output) and 2 (errors)."""

    def write(self, stream: int, entries: Iterable[Entry]) -> None:
        """Keep entries. A full disk loses them, but never stops the container."""
        ...

    def close(self) -> None: ...


def open_writer(settings: LogSettings) -> LogWriter | None:
    """What the monitor itself writes with: None for ``none``, and where another process writes.
    InvalidArgument if the driver is not known."""
    if settings.driver == "none" or (settings.shipped and settings.remote is None):
        return None
    return open_file_writer(settings)


def open_file_writer(settings: LogSettings) -> LogWriter:
    """The writer of a log file; InvalidArgument if the driver is not known."""
    if settings.driver not in ("local", "json-file"):
        raise InvalidArgument(
            f"unknown log driver {settings.driver!r}: use local, json-file or none"
        )
    if not os.path.isabs(settings.path):
        raise InvalidArgument(f"the log's path {settings.path!r} is not absolute")
    return LocalWriter(settings) if settings.driver == "local" else JsonFileWriter(settings)


class RotatedFile:
    """A file that only grows, until it is put aside as ``path.1`` for a fresh one."""

    def __init__(self, settings: LogSettings, preamble: bytes = b"") -> None:
        self._settings = settings
        self._preamble = preamble
        self._compressor = 0  # the process that compresses path.1
        self.fd = -1
        self.size = 0
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self.fd = os.open(self._settings.path, flags, _MODE)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)  # fstat(2)'s many values cost memory
        if not self.size and self._preamble:
            self._append(self._preamble)

    def truncate(self, size: int) -> None:
        """Cut the file; one that becomes empty begins anew."""
        os.ftruncate(self.fd, size)
        self.size = size
        if not size and self._preamble:
            self._append(self._preamble)

    def append(self, data: bytes) -> None:
        """Append all of ``data`` or, when the disk is full, none of it."""
        limit = self._settings.max_size
        if 0 < limit < self.size + len(data) and self.size > len(self._preamble):
            self._rotate()
        self._append(data)

    def _append(self, data: bytes) -> None:
        try:
            written = os.write(self.fd, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                raise
            return
        if written == len(data):
            self.size += written
        else:
            os.ftruncate(self.fd, self.size)  # half a record would spoil all that follow

    def _rotate(self) -> None:
        self._await_compressor()
        path, kept = self._settings.path, self._settings.max_files - 1
        if kept < 1:
            self.truncate(0)
            return
        for suffix in ("", ".gz"):
            _unlink(f"{path}.{kept}{suffix}")
            for number in range(kept - 1, 0, -1):
                _rename(f"{path}.{number}{suffix}", f"{path}.{number + 1}{suffix}")
        os.rename(path, f"{path}.1")
        os.close(self.fd)
        self._open()
        if self._settings.compress:
            self._compressor = _compress(f"{path}.1")

    def _await_compressor(self) -> None:
        if self._compressor:
            try:
                os.waitpid(self._compressor, 0)
            except ChildProcessError:
                pass
            self._compressor = 0

    def close(self) -> None:
        self._await_compressor()
        os.close(self.fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        pass


def _compress(path: str) -> int:
    """Compress a file in a process of its own, whose memory goes with it; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        import gzip
        import shutil

        os.nice(10)
        with open(path, "rb") as plain, gzip.open(f"{path}.new", "wb", 6) as packed:
            shutil.copyfileobj(plain, packed, 1 << 18)
        os.chmod(f"{path}.new", _MODE)
        os.rename(f"{path}.new", f"{path}.gz")
        os.unlink(path)
    finally:
        os._exit(0)


class LocalWriter:
    """Wherry's framed records."""

    def __init__(self, settings: LogSettings) -> None:
        self._file = RotatedFile(settings, formats.MAGIC)
        size = sound_size(self._file.fd, self._file.size)
        if size != self._file.size:
            self._file.truncate(size)

    def write(self, stream: int, entries: Iterable[Entry]) -> None:
        for time_ns, data, partial in entries:
            self._file.append(formats.local_record(stream, time_ns, data, partial))

    def close(self) -> None:
        self._file.close()


def sound_size(fd: int, size: int) -> int:
    """How many bytes of a ``local`` file are whole records: a crash of the host may have cut the
    last one. Looks at the end only, unless that is damaged."""
    trailer = formats.TRAILER
    if os.pread(fd, len(formats.MAGIC), 0) != formats.MAGIC:
        return 0
    if size == len(formats.MAGIC):
        return size
    if size > len(formats.MAGIC) + formats.OVERHEAD:
        (length,) = trailer.unpack(os.pread(fd, trailer.size, size - trailer.size))
        header = os.pread(fd, formats.HEADER.size, max(0, size - length))
        if len(header) == formats.HEADER.size and length <= size:
            payload, flags, _ = formats.HEADER.unpack(header)
            if payload + formats.OVERHEAD == length and flags & formats.STREAM_MASK:
                return size
    return _walk(fd, size)


def _walk(fd: int, size: int) -> int:
    position = len(formats.MAGIC)
    while position + formats.OVERHEAD <= size:
        payload, _, _ = formats.HEADER.unpack(os.pread(fd, formats.HEADER.size, position))
        end = position + payload + formats.OVERHEAD
        if end > size:
            break
        trailer = os.pread(fd, formats.TRAILER.size, end - formats.TRAILER.size)
        if formats.TRAILER.unpack(trailer) != (payload + formats.OVERHEAD,):
            break
        position = end
    return position


class JsonFileWriter:
    """Docker's json-file."""

    def __init__(self, settings: LogSettings) -> None:
        self._file = RotatedFile(settings)
        self._attributes = formats.json_attributes(settings.attributes)

    def write(self, stream: int, entries: Iterable[Entry]) -> None:
        for time_ns, data, _ in entries:
            self._file.append(formats.json_lines(stream, time_ns, data, self._attributes))

    def close(self) -> None:
        self._file.close()
