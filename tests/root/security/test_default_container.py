"""What a default container can do, compared with what is documented: any loosening fails.

The expectation is ``checker/default.json``, which is docs/security.md in data; what is in a
container is found by ``checker/probe.py``. The interpreter it needs is the host's own, bound into
the container read-only, file by file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from tests.root.engine.conftest import TestEngine

from wherry.engine.spec.security import MASKED_PATHS, READONLY_PATHS
from wherry.model.container import HostConfig
from wherry.runtime.seccomp.tables import syscall_numbers

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="tries calls in x86-64 code"),
]

CHECKER = Path(__file__).parent / "checker"
EXPECTED: dict[str, Any] = json.loads((CHECKER / "default.json").read_text())
LOADER = "/lib64/ld-linux-x86-64.so.2"
NEEDED = "import ctypes, mmap, resource, socket; print(open('/proc/self/maps').read())"


def interpreter() -> tuple[str, dict[str, str], str]:
    """The host's Python, what must be bound for it to run, and where its libraries are."""
    program = os.path.realpath(sys.executable)
    standard = sysconfig.get_path("stdlib")
    maps = subprocess.run([program, "-c", NEEDED], check=True, capture_output=True, text=True)
    mapped = {line.split()[5] for line in maps.stdout.splitlines() if ".so" in line}
    libraries = {os.path.dirname(path) for path in mapped if not path.startswith(standard)}
    binds = {path: path for path in (program, standard, *sorted(libraries))}
    return program, binds | {os.path.realpath(LOADER): LOADER}, ":".join(sorted(libraries))


_AF_KEY = 15
"""Needs CAP_NET_ADMIN (net/key/af_key.c); many kernels are without it."""


@pytest.fixture(scope="module")
def found(engine: TestEngine) -> dict[str, Any]:
    """The report of the probe, and in ``binds`` the places that it itself needed."""
    program, binds, libraries = interpreter()
    binds[str(CHECKER)] = "/checker"
    host = HostConfig(
        network_mode="none", binds=tuple(f"{source}:{place}:ro" for source, place in binds.items())
    )
    done = engine.run(
        "env",
        f"LD_LIBRARY_PATH={libraries}",
        f"PYTHONHOME={sys.base_prefix}",
        program,
        "/checker/probe.py",
        json.dumps(EXPECTED["masked"]),
        host=host,
        hostname="probed",
    )
    assert done.code == 0, done.stderr.decode()
    return {"binds": set(binds.values()), **json.loads(done.stdout)}


def test_identity_and_capabilities(found: dict[str, Any]) -> None:
    assert found["status"] == EXPECTED["status"]


@pytest.mark.parametrize("table", ["x86_64", "x32", "i386"])
def test_system_calls(found: dict[str, Any], table: str) -> None:
    outcomes = found["calls"][table]
    if outcomes is None:
        pytest.skip("this kernel takes no 32-bit calls")
    names = {number: name for name, number in syscall_numbers(table).items()}
    allowed = set((CHECKER / "allowed_calls.txt").read_text().split())
    reached = {names.get(n, f"number {n}") for n, o in enumerate(outcomes) if o == "reached"}
    # A kernel that has these asks no filter about them (kernel/seccomp.c), and refuses them itself
    # but where it has placed the call; to an older one they are numbers like others.
    unfiltered = set(EXPECTED["never_filtered"])
    assert sorted(reached - allowed - unfiltered) == [], "loosened"
    if table != "x32":  # most kernels are without it, and answer ENOSYS to all
        refused = {names.get(n) for n, o in enumerate(outcomes) if o in ("EPERM", "killed")}
        assert sorted(refused & allowed - set(EXPECTED["eperm_by_the_kernel"])) == [], "lost"
        assert {"read", "execve", "openat"} <= reached


def test_sockets(found: dict[str, Any]) -> None:
    by_the_kernel = {_AF_KEY} - set(EXPECTED["refused_families"])  # where it has that family
    assert [one for one in found["families"] if one not in by_the_kernel] == (
        EXPECTED["refused_families"]
    )


def test_namespaces(found: dict[str, Any]) -> None:
    here = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    shared = sorted(name for name, link in found["namespaces"].items() if here[name] == link)
    assert shared == [name for name in EXPECTED["shared_namespaces"] if name in here]


def test_files_of_the_kernel(found: dict[str, Any]) -> None:
    allowed = tuple(EXPECTED["writable_below"])
    unexpected = [path for path in found["writable"] if not path.startswith(allowed)]
    # What is masked by the null device takes anything, and keeps nothing.
    assert [path for path in unexpected if path not in EXPECTED["masked"]] == []
    assert found["masked"] == dict.fromkeys(EXPECTED["masked"], 0)


def test_paths_that_this_kernel_may_lack() -> None:
    """What is documented is hidden or read-only wherever it is."""
    kept = {place for place, options in EXPECTED["mounts"].items() if options.startswith("proc ro")}
    assert set(EXPECTED["masked"]) <= set(MASKED_PATHS)
    assert kept <= set(READONLY_PATHS)


def test_devices(found: dict[str, Any]) -> None:
    assert sorted(set(found["devices"]) - set(EXPECTED["devices"])) == []
    core = ["core -> /proc/kcore"] if os.path.exists("/proc/kcore") else []
    assert sorted(found["nodes"]) == sorted([*EXPECTED["nodes"], *core])


def test_mounts(found: dict[str, Any]) -> None:
    asked = EXPECTED["mounts"]
    for place, kind, options in found["mounts"]:
        if place in found["binds"]:
            continue
        if place.startswith("/sys/fs/cgroup"):
            assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(",")), place
            continue
        wanted = asked.get(place)
        assert wanted is not None, f"{kind} on {place} is not documented"
        missing = set(wanted.split()) - {kind, *options.split(",")}
        assert not missing, f"{place} lacks {missing}"


def test_what_a_process_is_given(found: dict[str, Any]) -> None:
    assert found["descriptors"] == [0, 1, 2]
    assert found["directory"] == "/"
    env = {
        k: v for k, v in found["environment"].items() if k not in ("LD_LIBRARY_PATH", "PYTHONHOME")
    }
    assert env == EXPECTED["environment"]
    assert found["limits"] == {str(n): list(resource.getrlimit(n)) for n in range(16)}
