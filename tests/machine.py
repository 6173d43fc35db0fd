"""What of the machine's state tests look at again and again, but for what others do meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def host_mounts() -> list[str]:
    """Lines of the host's mounts, but for those of tests in another process and for the
    interpreters that any cold start of ``wherry-runtime`` keeps."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    shared = [line for line in lines if " /run/wherry-interpreters" not in line]
    return [line for line in shared if "popen-gw" not in line or f"popen-{_WORKER}/" in line]


def groups_below(top: str) -> Iterator[str]:
    """Paths of all control groups below ``top``.

    A directory has a link for each one in it, so that groups without any, which are most, are not
    listed with their dozens of files. Those of others may vanish meanwhile.
    """
    try:
        if os.stat(top).st_nlink == 2:
            return
        children = [one.path for one in os.scandir(top) if one.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for child in children:
        yield child
        yield from groups_below(child)
