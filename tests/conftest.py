"""What every test shares: probed capabilities, selection by them, and the search for leftovers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from tests.machine import groups_below
from tests.patience import patience
from tests.property.effort import examples

RUN_ID = f"wt{uuid4().hex[:6]}"
"""Names of things on the host that a test makes should hold this, so that they can be found."""

_VARIABLE = "WHERRY_TEST_RUN"
_MARK = f"{_VARIABLE}={RUN_ID}"
_PATIENCE = patience(20.0)  # seconds for what a test stopped to be gone; exec servers wait for ten
_CGROUPS = Path("/sys/fs/cgroup")


# A machine that is busy with something else makes no property false.
settings.register_profile(
    "patient",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


# --- capabilities ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Capability:
    """Something that a machine has or lacks. ``needed``: tests marked root need it."""

    name: str
    present: bool
    detail: str = ""
    needed: bool = False

    def __str__(self) -> str:
        state = "yes" if self.present else "NO"
        return f"{self.name}: {state}" + (f" ({self.detail})" if self.detail else "")


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _has_overlay() -> bool:
    """A module that nothing has used yet is not listed; the first mount would load it."""
    names = Path("/proc/filesystems")
    if "\toverlay\n" not in names.read_text():
        _succeeds("modprobe", "overlay")
    return "\toverlay\n" in names.read_text()


def _cgroup_mode() -> str:
    if (_CGROUPS / "cgroup.controllers").exists():
        return "unified"
    if (_CGROUPS / "unified/cgroup.controllers").exists():
        return "hybrid"
    return "legacy" if any(_CGROUPS.glob("*/cgroup.procs")) else ""


def probe() -> tuple[Capability, ...]:
    """Look at the machine once."""
    mode = _cgroup_mode()
    kernel = [
        Capability("root", os.geteuid() == 0, needed=True),
        Capability("overlayfs", _has_overlay(), needed=True),
        Capability("cgroups", bool(mode), mode, needed=True),
        Capability("namespaces", _succeeds("unshare", "-mnpiuCf", "true"), needed=True),
    ]
    programs = ("nft", "docker", "dockerd", "podman", "runc", "skopeo", "docker-registry")
    tools = [Capability(name, shutil.which(name) is not None) for name in (*programs, "mmdebstrap")]
    journal = Capability("journald", os.path.exists("/run/systemd/journal/socket"))
    return (*kernel, *tools, journal)


_CAPABILITIES = probe()


def pytest_report_header() -> list[str]:
    return [f"run {RUN_ID}", *(f"  {capability}" for capability in _CAPABILITIES)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--api-definition", metavar="FILE", help="Docker's definition of its API")
    parser.addoption("--schemathesis", metavar="PROGRAM", help="to try the definition with")
    parser.addoption(
        "--fault-rounds", type=int, default=200, help="how often tests/faults kills something"
    )
    parser.addoption("--fault-at", default="", help="only cases with this, as 'engine at start.'")
    parser.addoption("--soak-operations", type=int, default=2000, help="with --slow")
    parser.addoption("--fault-seed", type=int, default=0, help="repeat the rounds of a seed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """None: one of pytest-xdist's own."""
    if config.getoption("dist") != "loadgroup":
        return None
    from tests.scheduling import TwoProcesses  # there is no pytest-xdist without this hook

    return TwoProcesses(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = [c.name for c in _CAPABILITIES if c.needed and not c.present]
    no_root = pytest.mark.skip(reason=f"this machine lacks: {', '.join(missing)}")
    no_slow = pytest.mark.skip(reason="marked slow: run with --slow")
    for item in items:
        if missing and "root" in item.keywords:
            item.add_marker(no_root)
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(no_slow)


@pytest.fixture(scope="session")
def run_id() -> str:
    """A short name, different in every run, for what a test makes on the host."""
    return RUN_ID


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    """``need("skopeo")`` skips the test by name where the machine lacks it."""
    present = {capability.name: capability.present for capability in _CAPABILITIES}

    def check(name: str) -> None:
        if not present[name]:
            pytest.skip(f"this machine lacks {name}")

    return check


# --- leftovers ---------------------------------------------------------------------------------

# Other work runs on the same machine at the same time. So only what can be traced to this run is
# looked at: descendants of this process, processes with its mark in their environment, and
# mounts, groups and interfaces that hold one of its names.
os.environ[_VARIABLE] = RUN_ID


@dataclass(frozen=True)
class Traces:
    """What of this run there is on the host, one readable line each."""

    lines: frozenset[str]

    def since(self, before: Traces) -> list[str]:
        return sorted(self.lines - before.lines)


@dataclass
class Leftovers:
    """Looks for what a test left behind. ``watch`` adds a name, such as an engine's instance."""

    names: set[str] = field(default_factory=set)

    def watch(self, name: str) -> None:
        self.names.add(name)

    def traces(self) -> Traces:
        found = [*_mounts(self.names), *_cgroup_dirs(self.names), *_interfaces(self.names)]
        return Traces(frozenset([*found, *_processes(self.names)]))


def _holds(text: str, names: set[str]) -> bool:
    return any(name in text for name in names)


def _mounts(names: set[str]) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if _holds(line, names):
            yield f"mount {line.split()[4]}"


def _cgroup_dirs(names: set[str]) -> Iterator[str]:
    for directory in groups_below(str(_CGROUPS)):
        if _holds(os.path.basename(directory), names):
            yield f"cgroup {directory}"


def _interfaces(names: set[str]) -> Iterator[str]:
    for name in os.listdir("/sys/class/net"):
        if _holds(name, names):
            yield f"interface {name}"


# What an engine keeps ready for the next start, or for the next container with a name or a port.
# They end with their engine, and after all tests it is seen that they have.
_SPARES = frozenset(
    {
        "wherry-launcher",
        "wherry-monitor (waiting)",
        "wherry-starter",
        "wherry-init (waiting)",
        "wherry-resolver",
    }
)


# Who was there before this run: most of all processes, such as the kernel's threads, and never its.
_strangers: set[int] = set()


def _processes(names: set[str], spares: frozenset[str] = _SPARES) -> Iterator[str]:
    there = set(_pids())
    _strangers.intersection_update(there)  # numbers are used again
    table = {pid: _parent(pid) for pid in there - _strangers}
    own = _link("/proc/self/ns/mnt")
    ours = {os.getpid()} | {pid for pid in table if _is_marked(pid, own, names)}
    while more := {pid for pid, parent in table.items() if parent in ours} - ours:
        ours |= more
    for pid in sorted(ours - {os.getpid()}):
        command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        # Empty: a zombie that its parent has not reaped, or gone by now.
        if command and not spares & {command, _read(f"/proc/{pid}/comm").strip()}:
            yield f"process {pid}: {command}"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


_strangers.update(pid for pid in _pids() if pid != os.getpid())


def _parent(pid: int) -> int:
    stat = _read(f"/proc/{pid}/stat")
    return int(stat.rpartition(")")[2].split()[1]) if stat else 0


def _is_marked(pid: int, own: str, names: set[str]) -> bool:
    environment = _read(f"/proc/{pid}/environ")
    if _VARIABLE in environment:  # of this run, or of one beside it that has copied its mounts
        return _MARK in environment
    if _link(f"/proc/{pid}/ns/mnt") == own:
        return False
    return _holds(_read(f"/proc/{pid}/mountinfo"), names)


def _read(path: str) -> str:
    """Without the layers of ``open()``: thousands of these are read in a run for each process."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return b"".join(iter(lambda: os.read(descriptor, 65536), b"")).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


_known: Traces | None = None
"""What there was after the last test. Looking takes longer than many tests do, so that it is what
the next test begins with, unless a fixture of several tests has been set up meanwhile."""


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    global _known
    if fixturedef.scope != "function":
        _known = None


@pytest.fixture(autouse=True)
def leftovers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Leftovers]:
    """After a test marked root, fail it if anything it made is still there."""
    global _known
    watch = Leftovers({RUN_ID, str(tmp_path_factory.getbasetemp())})
    if "root" not in request.keywords:
        _known = None
        yield watch
        return
    before = _known or watch.traces()
    yield watch
    _known = _wait_until_gone(watch, before)
    left = _known.since(before)
    assert not left, "the test left behind: " + "; ".join(left)


def _wait_until_gone(watch: Leftovers, before: Traces) -> Traces:
    """What there is when all is gone that came after ``before``, or when patience has ended."""
    deadline = time.monotonic() + _PATIENCE
    while (found := watch.traces()).since(before) and time.monotonic() < deadline:
        time.sleep(0.02)  # nothing announces the end of a mount or of a group
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_ever(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After all tests, nothing is kept ready any more, either."""
    names = {RUN_ID, str(tmp_path_factory.getbasetemp())}
    before = set(_processes(names, frozenset()))
    yield
    deadline = time.monotonic() + _PATIENCE
    while left := set(_processes(names, frozenset())) - before:
        assert time.monotonic() < deadline, f"the tests left behind: {sorted(left)}"
        time.sleep(0.02)  # nothing announces the end of a process that is nobody's child
