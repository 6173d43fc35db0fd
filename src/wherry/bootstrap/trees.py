"""Small trees of files as tar streams, the same bytes each time."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A file, a directory (``data`` None) or, with ``link``, a symbolic link."""

    name: str  # relative
    data: bytes | None = None
    mode: int = 0o755
    link: str = ""


def tar_of(nodes: Iterable[Node], mtime: int) -> bytes:
    """A tar archive of nodes that belong to root; ``mtime`` in seconds since the epoch."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for node in nodes:
            archive.addfile(_entry(node, mtime), io.BytesIO(node.data or b""))
    return buffer.getvalue()


def _entry(node: Node, mtime: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(node.name)
    entry.mtime, entry.mode = mtime, node.mode
    if node.link:
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, node.link, 0o777
    elif node.data is None:
        entry.type = tarfile.DIRTYPE
    else:
        entry.size = len(node.data)
    return entry
