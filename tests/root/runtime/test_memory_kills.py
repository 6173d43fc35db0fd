"""Following a group's counts: the announcements of the kernel, on any tree of version 2.

That kills themselves are counted is shown where the memory controller is of version 2
(tests/root/engine/test_under_systemd.py).
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import eventually

from wherry.cgroup.api import Cgroup
from wherry.runtime.monitor.memory_kills import MemoryKills, follow_kills

pytestmark = pytest.mark.root


@pytest.fixture
def group(run_id: str) -> Iterator[Path]:
    tops = [Path("/sys/fs/cgroup", name) for name in (".", "unified")]
    tree = next((top for top in tops if (top / "cgroup.procs").exists()), None)
    if tree is None or not (tree / "cgroup.controllers").exists():
        pytest.skip("this machine has no control groups of version 2")
    made = tree / f"{run_id}-kills"
    made.mkdir()
    yield made
    if made.exists():
        made.rmdir()


class Stand:
    """A group whose ``memory.events`` is another file, which changes when the test wants it to."""

    def __init__(self, directory: Path, file: Path) -> None:
        self._directory = directory
        (directory / "memory.events").symlink_to(file)

    def directory_fd(self) -> int:
        return os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def follow(group: Cgroup | Stand) -> MemoryKills:
    return MemoryKills(follow_kills(group))  # type: ignore[arg-type]


def test_each_change_is_announced_once(tmp_path: Path, group: Path) -> None:
    kills = follow(Stand(tmp_path, group / "cgroup.events"))
    assert kills.watched is not None
    poll = select.poll()
    poll.register(kills.watched, select.POLLIN)
    assert poll.poll(0) == []
    with subprocess.Popen(["sleep", "600"]) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        assert poll.poll(patience(10) * 1000)
        kills.look()
        assert poll.poll(0) == []
        process.kill()
    assert poll.poll(patience(10) * 1000)
    kills.look()
    eventually(lambda: _removed(group))
    kills.look()  # of what is gone nothing is read
    assert poll.poll(0) == []
    assert not kills.seen
    kills.close()
    assert kills.watched is None


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # it is empty a moment before it can be removed
        return False
    return True


def test_a_count_above_zero_was_a_kill(tmp_path: Path) -> None:
    """Read from a plain file, of which no change is announced."""
    count = tmp_path / "count"
    count.write_text("low 0\noom 1\noom_kill 0\n")
    epoll = select.epoll()
    kills = MemoryKills([os.dup(epoll.fileno()), os.open(count, os.O_RDONLY)])
    kills.look()
    assert not kills.seen
    count.write_text("low 0\noom 2\noom_kill 1\noom_group_kill 0\n")
    kills.look()
    assert kills.seen
    kills.close()
    epoll.close()


def test_without_such_a_file_nothing_is_followed() -> None:
    class Legacy:
        def directory_fd(self) -> None:
            return None

    assert follow_kills(Legacy()) == []  # type: ignore[arg-type]
    kills = MemoryKills([])
    kills.look()
    assert (kills.watched, kills.seen) == (None, False)
