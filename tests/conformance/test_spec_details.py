"""What the specification has in small print: recursive options, scheduling, hooks, block I/O."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, Bundles, Config, base_config, mount
from tests.conformance.test_spec_linux import V1, group_file, resources
from tests.conformance.test_spec_mounts import also, options_of
from tests.patience import patience

pytestmark = pytest.mark.root
RUNC_LACKS = "runc 1.1 does not have it"
# RECURSIVE: the option, what is to be seen of it on all mounts, what is not.
RECURSIVE = [
    ("rro", "ro", "rw"),
    ("rnosuid", "nosuid", ""),
    ("rnodev", "nodev", ""),
    ("rnoexec", "noexec", ""),
    ("rnoatime", "noatime", "relatime"),
    ("rnodiratime", "nodiratime", ""),
    ("rnosymfollow", "nosymfollow", ""),
    ("rstrictatime", "", "relatime"),
    ("rrw", "rw", "ro"),
    ("rsuid", "", "nosuid"),
    ("rdev", "", "nodev"),
    ("rexec", "", "noexec"),
    ("rdiratime", "", "nodiratime"),
    ("rsymfollow", "", "nosymfollow"),
]


@pytest.mark.parametrize(("option", "seen", "unseen"), RECURSIVE)
def test_recursive_options(oci: Bundles, option: str, seen: str, unseen: str) -> None:
    """On the host's devices, below which there are other mounts with options of their own."""
    edit = also(mount("/data", "bind", "/dev", "rbind", option))
    lines = [line.split() for line in oci.lines("cat", "/proc/self/mountinfo", edit=edit)]
    found = [set(line[5].split(",")) for line in lines if f"{line[4]}/".startswith("/data/")]
    assert len(found) > 1
    for options in found:
        assert not seen or seen in options
        assert unseen not in options


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
@pytest.mark.parametrize(("option", "seen"), [("rro", "ro"), ("rnoexec", "noexec")])
def test_recursive_options_of_a_file_system(oci: Bundles, option: str, seen: str) -> None:
    assert seen in options_of(oci, "/data", mount("/data", "tmpfs", "tmpfs", option))


def test_copying_up_into_what_is_read_only(oci: Bundles) -> None:
    edit = also(mount("/data", "tmpfs", "tmpfs", "tmpcopyup", "ro"))
    done = oci.run("sh", "-c", "cat /data/file; touch /data/new", edit=edit)
    assert done.stdout == "from the image\n"
    assert "Read-only file system" in done.stderr


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
def test_a_root_that_cannot_be_bound(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        config["linux"]["rootfsPropagation"] = "unbindable"

    lines = oci.lines("cat", "/proc/self/mountinfo", edit=edit)
    (root,) = [line for line in lines if line.split()[4] == "/"]
    assert root.split()[6] == "unbindable"


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
def test_domain_name(oci: Bundles) -> None:
    edit = {"domainname": "example.org"}
    lines = oci.lines("cat", "/proc/sys/kernel/domainname", edit=lambda c: c.update(edit))
    assert lines == ["example.org"]


DEADLINE = {
    "policy": "SCHED_DEADLINE",
    "runtime": 10_000_000,
    "deadline": 30_000_000,
    "period": 30_000_000,
    "flags": ["SCHED_FLAG_RESET_ON_FORK"],
}


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
@pytest.mark.parametrize(
    ("scheduler", "policy", "priority"),
    [
        ({"policy": "SCHED_BATCH", "nice": 5}, os.SCHED_BATCH, 125),
        ({"policy": "SCHED_IDLE"}, os.SCHED_IDLE, 120),
        ({"policy": "SCHED_OTHER", "nice": -3}, os.SCHED_OTHER, 117),
        (DEADLINE, 6, -1),
    ],
)
def test_scheduling(oci: Bundles, scheduler: Config, policy: int, priority: int) -> None:
    name = oci.start(
        "sleep", "100", edit=lambda config: config["process"].update(scheduler=scheduler)
    )
    lines = Path(f"/proc/{oci.state(name)['pid']}/sched").read_text().splitlines()
    told = dict(line.replace(" ", "").split(":", 1) for line in lines if ":" in line)
    assert (int(told["policy"]), int(told["prio"])) == (policy, priority)


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
def test_priority_of_input_and_output(oci: Bundles) -> None:
    wanted = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    name = oci.start(
        "sleep", "100", edit=lambda config: config["process"].update(ioPriority=wanted)
    )
    told = subprocess.run(
        ["ionice", "-p", str(oci.state(name)["pid"])], check=True, capture_output=True, text=True
    )
    assert told.stdout == "best-effort: prio 6\n"


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="this machine has one processor")
def test_processors_of_an_exec(oci: Bundles, tmp_path: Path) -> None:
    name = oci.start("sleep", "100")
    process = base_config("grep", "Cpus_allowed_list", "/proc/self/status")["process"]
    process["execCPUAffinity"] = {"initial": "0", "final": "1"}
    (tmp_path / "process.json").write_text(json.dumps(process))
    done = oci.call("exec", "--process", str(tmp_path / "process.json"), name)
    assert done.stdout.split() == ["Cpus_allowed_list:", "1"]


def test_size_of_the_terminal(oci: Bundles, tmp_path: Path) -> None:
    def edit(config: Config) -> None:
        config["process"].update(terminal=True, consoleSize={"height": 33, "width": 99})

    config = base_config("busybox", "stty", "size")
    edit(config)
    name, where = oci.bundle(config)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "console"))
        listener.listen(1)
        listener.settimeout(patience(20))
        option = ("--console-socket", str(tmp_path / "console"))
        oci.call_quietly("create", *option, "--bundle", str(where), name)
        sender, _ = listener.accept()
        with sender:
            _, (master,), _, _ = socket.recv_fds(sender, 4096, 1)
        oci.call_quietly("start", name)
        with os.fdopen(master, "rb", buffering=0) as terminal:
            assert terminal.read(100).split() == [b"33", b"99"]


HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_has_its_own_environment_and_no_descriptors(oci: Bundles, kind: str) -> None:
    """Its words, its variables, the state on standard input, and nothing else that is open."""
    script = 'cat >/tmp/{0}; echo "$0 $1 [$OWN] [$HOME]" >>/tmp/{0}; ls /proc/self/fd >>/tmp/{0}'
    log = f"{oci.prefix}-hook"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", script.format(log), "name", "word"],
        "env": ["OWN=yes", "PATH=/bin"],
    }
    name = oci.create("true", edit=lambda config: config.update(hooks={kind: [hook]}))
    oci.call("start", name)
    oci.await_status(name, "stopped")
    oci.call("delete", name)
    root = oci.directory / name / "rootfs" if kind == "startContainer" else Path("/")
    written = root / "tmp" / log
    text = written.read_text()
    written.unlink()
    state, end, rest = text.rpartition("}")
    assert json.loads(state + end)["id"] == name
    words, *fds = rest.strip().splitlines()
    assert words == "name word [yes] []"
    if OTHER and kind == "createContainer":
        return  # runc 1.1 leaves some of its own open
    assert fds == ["0", "1", "2", "3"]  # the last is that of what lists them


@pytest.mark.parametrize(
    ("script", "status"), [("sleep 100", 1), ("exec <&-; sleep 0.1", 0), ("wc -c", 0)]
)
def test_a_state_that_is_larger_than_a_pipe(oci: Bundles, script: str, status: int) -> None:
    """Whether a hook reads it or not, its time holds."""
    if OTHER and status:
        pytest.skip("runc 1.1 waits until all of the state is read")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1 if status else 60}

    def edit(config: Config) -> None:
        config.update(annotations={"long": "x" * 200_000}, hooks={"createRuntime": [hook]})

    done = oci.run("true", edit=edit)
    assert (done.returncode, done.stdout) == (status, "")


def test_what_a_failing_hook_says_is_quoted(oci: Bundles) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo the reason >&2; exit 4"]}
    done = oci.run("true", edit=lambda config: config.update(hooks={"prestart": [hook]}))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the reason" in done.stderr


def a_disk() -> str:
    """The number of a block device that has a queue."""
    for queue in sorted(Path("/sys/block").glob("*/queue")):
        if not queue.parent.name.startswith(("loop", "ram", "zram")):
            return (queue.parent / "dev").read_text().strip()
    pytest.skip("this machine has no disk of its own")


def test_rates_of_a_disk(oci: Bundles) -> None:
    number = a_disk()
    major, minor = map(int, number.split(":"))
    asked = {
        f"throttle{what}Device": [{"major": major, "minor": minor, "rate": rate}]
        for what, rate in (("ReadBps", 1 << 20), ("WriteBps", 2 << 20), ("ReadIOPS", 300))
    }
    name = oci.create("true", edit=resources(blockIO=asked))
    if not V1:
        assert group_file(oci, name, "blkio.", "io.max") == (
            f"{number} rbps={1 << 20} wbps={2 << 20} riops=300 wiops=max"
        )
        return
    for what, rate in (("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 300)):
        file = f"blkio.throttle.{what}_device"
        assert group_file(oci, name, file, "") == f"{number} {rate}"


def test_weight_of_input_and_output(oci: Bundles) -> None:
    """Of the scheduler BFQ, which came when CFQ and its files went."""
    if not Path("/sys/fs/cgroup/blkio/blkio.bfq.io_serviced").exists():
        pytest.skip("this kernel has no weights of BFQ in control groups of version 1")
    name = oci.create("true", edit=resources(blockIO={"weight": 300}))
    assert group_file(oci, name, "blkio.bfq.weight", "") == "300"


@pytest.mark.skipif(bool(OTHER), reason=RUNC_LACKS)
@pytest.mark.parametrize(
    ("limits", "old", "new", "expected"),
    [
        ({"idle": 1}, "cpu.idle", "cpu.idle", "1"),
        ({"quota": 50000, "burst": 1000}, "cpu.cfs_burst_us", "cpu.max.burst", "1000"),
    ],
)
def test_limits_of_processors(
    oci: Bundles, limits: Config, old: str, new: str, expected: str
) -> None:
    name = oci.create("true", edit=resources(cpu=limits))
    assert group_file(oci, name, old, new) == expected


def test_swap_without_a_limit(oci: Bundles) -> None:
    name = oci.create("true", edit=resources(memory={"limit": 64 << 20, "swap": -1}))
    shown = group_file(oci, name, "memory.memsw.limit_in_bytes", "memory.swap.max")
    assert shown == "max" or int(shown) > 1 << 60
