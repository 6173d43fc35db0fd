"""Options of ``--tmpfs``, which the kernel would refuse only when the container starts."""

from __future__ import annotations

import json

from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig
from wherry.runtime.plan.mount_options import NAMES

_DATA = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"})
_DATA_FLAGS = frozenset({"inode32", "inode64", "noswap"})  # tmpfs(5)
_FOREIGN = frozenset({"bind", "rbind", "remount", "idmap", "ridmap"})


def check_tmpfs(host: HostConfig) -> None:
    """InvalidArgument, in Docker's words, for an option that no tmpfs has."""
    for text in (host.tmpfs or {}).values():
        wrong = [option for option in text.split(",") if not _is_known(option)]
        if wrong:
            raise InvalidArgument(f"invalid tmpfs option {json.dumps(wrong)}")


def _is_known(option: str) -> bool:
    name, equals, _ = option.partition("=")
    if equals:
        return name in _DATA
    return not name or name in _DATA_FLAGS or (name in NAMES and name not in _FOREIGN)
