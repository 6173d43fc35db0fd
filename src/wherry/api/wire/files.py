"""What is at a path in a container: the header ``X-Docker-Container-Path-Stat``."""

from __future__ import annotations

import base64
import stat

import msgspec

from wherry.api.times import rfc3339
from wherry.engine.api import PathStat

STAT_HEADER = "X-Docker-Container-Path-Stat"

# The bits of Go's io/fs.FileMode.
_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_FLAGS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def stat_header(found: PathStat) -> str:
    """JSON in base64."""
    members = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": rfc3339(found.mtime_ns),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(msgspec.json.encode(members)).decode()


def go_mode(mode: int) -> int:
    """``st_mode`` in Go's form."""
    flags = sum(go for bit, go in _FLAGS.items() if mode & bit)
    return _KINDS.get(stat.S_IFMT(mode), 0) | flags | (mode & 0o777)
