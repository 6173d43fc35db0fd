"""What ``cp`` unpacks on this machine. The archive is a container's, which may be hostile: nothing
is written outside the directory, and nothing is made that means more here than there.

The engine's own unpacker does it, by descriptors. Python's ``tarfile`` has a filter for this since
3.11.4 only (PEP 706), which refuses every absolute link, and with it /etc of most images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from wherry.cli.options import CommandError
from wherry.fs.streams import IteratorStream
from wherry.fs.tar.entry import NO_XATTRS, Entry, Kind
from wherry.fs.tar.reader import TarReader
from wherry.fs.tar.unpack import Unpacker

_KINDS = {Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK}


def unpack(chunks: Iterator[bytes], directory: str, name: str, *, keep_owner: bool) -> None:
    """Unpack an archive of one file or tree below an open directory, as ``name``; ``.`` stands for
    its contents alone.

    Symbolic links are made as they are, and never followed out of ``directory``. Set-id bits and
    extended attributes are left out, devices and pipes are refused (CommandError). Files belong to
    whoever runs this, or with ``keep_owner`` as root to whom the archive says.
    BadArchive; what was unpacked before an error stays.
    """
    owner = None if keep_owner and os.geteuid() == 0 else (os.geteuid(), os.getegid())
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Unpacker(top, None, owner=owner, keep_types=True) as unpacker:

            def add(entry: Entry, reader: TarReader) -> None:
                if made := _as_copied(entry, name):
                    unpacker.add(made, reader)

            unpacker.run(TarReader(IteratorStream(chunks)), add)
    finally:
        os.close(top)


def _as_copied(entry: Entry, name: str) -> Entry | None:
    """None for the top of mere contents."""
    renamed = _renamed(entry.name, name)
    if renamed is None:
        return None
    if entry.kind not in _KINDS:
        raise CommandError(f"refusing to copy {entry.name!r}: it is a device or a pipe", 1)
    target = entry.target
    if entry.kind is Kind.HARDLINK:
        target = _renamed(target, name) or target
    return msgspec.structs.replace(
        entry, name=renamed, target=target, mode=entry.mode & 0o777, xattrs=NO_XATTRS
    )


def _renamed(member: str, name: str) -> str | None:
    """A member's path with its first component replaced, which is a dot where contents were asked
    for; None for the root of mere contents."""
    rest = member.lstrip("/").partition("/")[2].rstrip("/")
    if name == ".":
        return rest or None
    return f"{name}/{rest}" if rest else name
