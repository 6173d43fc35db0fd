"""A program is the same process whether an exec server or a starter has started it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.root.runtime.boxes import Box

from wherry.model.runtime_spec import Capabilities, User
from wherry.runtime.client import MonitoredProcess
from wherry.runtime.seccomp.profile import default_profile

pytestmark = pytest.mark.root

_REPORT = r"""
echo "== directory"; pwd -P
cd /proc/self
for f in status limits cgroup oom_score_adj coredump_filter sched personality timerslack_ns \
    attr/current loginuid sessionid; do
    echo "== $f"; cat $f 2>&1
done
echo "== links"; for n in ns/*; do readlink $n; done
echo "== descriptors"; for d in fd/*; do echo $d; done
echo "== environment"; tr '\0' '\n' < environ
echo "== mounts"; cat mounts
echo "== umask"; umask
echo "== groups"; id
set -- $(cat stat); echo "== session $(($1 - $5)) $(($1 - $6)) $7"
"""
_VARIES = re.compile(
    r"^(State|Pid|Tgid|NSpid|NStgid|NSpgid|NSsid|Ngid|PPid|Vm\w+|Rss\w+|Hugetlb\w+|\w*ctxt_switches|"
    r"SigQ|Mems_allowed|Cpus_allowed|se\.|nr_|sum_exec|mm|sh |cat |clock|avg|util|current_node|"
    r"total_numa|numa|vruntime|slice|deadline|uclamp|effective|.*\(\d+, #threads).*$",
    re.M,
)
_IGNORED = re.compile(r"^SigIgn:\s*([0-9a-f]+)$", re.M)
_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "user": {"user": User(uid=1000, gid=1001, additional_gids=(5, 6), umask=0o027)},
    "place": {"cwd": "/tmp", "env": ("PATH=/bin", "B=2", "HOME=/x", "B=3")},
    "caps": {
        "capabilities": Capabilities(
            bounding=("CAP_CHOWN",), effective=("CAP_CHOWN",), permitted=("CAP_CHOWN",)
        )
    },
    "no-new-privileges": {"no_new_privileges": True},
    # The last: all execs of a container have its score, and the server takes the same.
    "score": {"oom_score_adj": 300},
}


@pytest.fixture
def container(box: Box) -> MonitoredProcess:
    return box.start("sleep", "100", linux_seccomp=default_profile([]))


def _report(box: Box, container: MonitoredProcess, **changes: Any) -> str:
    found = box.exec(container, "sh", "-c", _REPORT, **changes)
    assert found.status.code == 0
    text = _VARIES.sub("", (found.stdout + found.stderr).decode())
    return _IGNORED.sub(_without_libc_s, text)


def _without_libc_s(line: re.Match[str]) -> str:
    """posix_spawn(3) of glibc lets programs begin with its own signals, 32 and 33, ignored."""
    return f"SigIgn: {int(line[1], 16) & ~(3 << 31):x}"


def test_what_a_server_starts_is_like_what_a_starter_starts(
    box: Box, container: MonitoredProcess
) -> None:
    box.exec(container, "true")  # makes the server
    for name, changes in _CASES.items():
        served = _report(box, container, **changes)
        assert "== session" in served
        assert served == _report(box, container, apart=True, **changes), name
