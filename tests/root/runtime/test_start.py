"""Starting containers: what they see, what they may do, and how a start fails."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.root.runtime.boxes import Box, wait

from wherry.engine.spec import host_facts
from wherry.errors import (
    InternalError,
    InvalidArgument,
    NotFound,
    NotSupported,
    PermissionDenied,
)
from wherry.model.runtime_spec import (
    Capabilities,
    LinuxDevice,
    LinuxNamespace,
    Mount,
    Rlimit,
    Root,
    User,
)
from wherry.runtime.api import CommandNotExecutable, CommandNotFound
from wherry.runtime.seccomp import profile

pytestmark = pytest.mark.root


def test_output_and_exit_code(box: Box) -> None:
    result = box.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.code) == (b"out\n", b"err\n", 7)
    assert not result.status.oom_killed
    assert result.status.finished_ns > 0


def test_death_by_signal_is_128_and_the_number(box: Box) -> None:
    process = box.start("sleep", "100")
    process.signal(9)
    assert wait(process).code == 137


def test_all_namespaces_are_new(box: Box) -> None:
    kinds = ("mnt", "pid", "ipc", "uts", "net", "cgroup")
    script = "".join(f"readlink /proc/self/ns/{kind};" for kind in kinds)
    lines = box.run("sh", "-c", script).lines
    mine = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert len(lines) == 6
    assert not set(lines) & set(mine)


def test_the_program_is_process_1_and_alone(box: Box) -> None:
    assert box.run("sh", "-c", "echo $$; ps | wc -l").lines[0] == "1"


def test_host_name_and_root(box: Box) -> None:
    assert box.run("sh", "-c", "hostname; pwd; ls -d /*").lines[:2] == ["box", "/"]


def test_the_host_is_out_of_sight(box: Box) -> None:
    lines = box.run("cat", "/proc/self/mountinfo").lines
    targets = {line.split()[4] for line in lines}
    expected = {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"}
    assert {target for target in targets if not target.startswith(("/proc/", "/sys/"))} == expected
    assert not any("shared:" in line or "master:" in line for line in lines if " / / " not in line)


def test_only_the_standard_streams_are_open(box: Box) -> None:
    # 3 is the directory itself. A shell would have pipes of its own open now and then.
    assert box.run("ls", "/proc/self/fd").lines == ["0", "1", "2", "3"]
    assert box.run("readlink", "/proc/self/fd/0").lines == ["/dev/null"]


def test_the_environment_is_exactly_the_one_asked_for(box: Box) -> None:
    env = ("PATH=/bin", "A=1", "EMPTY=", "ODD", "SPACE=a b", "A=2")
    data = box.run("cat", "/proc/self/environ", process_env=env).stdout
    # Of two values of a variable the last one counts, in the place of the first (as with runc).
    passed = ("PATH=/bin", "A=2", "EMPTY=", "ODD", "SPACE=a b", "HOME=/root")
    assert data.split(b"\0")[:-1] == [one.encode() for one in passed]


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/alice"), (4242, "/")])
def test_home_comes_from_the_containers_passwd(box: Box, uid: int, home: str) -> None:
    result = box.run("sh", "-c", "echo $HOME", process_user=User(uid=uid, gid=0))
    assert result.lines == [home]


def test_home_is_left_as_it_is_given(box: Box) -> None:
    assert box.run("sh", "-c", "echo $HOME", process_env=("PATH=/bin", "HOME=/x")).lines == ["/x"]


def test_user_groups_and_umask(box: Box) -> None:
    user = User(uid=1000, gid=50, additional_gids=(7, 8), umask=0o027)
    lines = box.run("sh", "-c", "id -u; id -g; id -G; umask", process_user=user).lines
    assert lines == ["1000", "50", "50 7 8", "0027"]


def test_a_user_owns_its_streams(box: Box) -> None:
    user = User(uid=1000, gid=50)
    assert box.run("sh", "-c", "echo again > /dev/stdout", process_user=user).lines == ["again"]


def status_fields(text: list[str]) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text)}


def test_capabilities_of_root(box: Box) -> None:
    fields = status_fields(box.run("cat", "/proc/self/status").lines)
    assert [fields[name] for name in ("CapEff", "CapPrm", "CapBnd")] == ["00000000a80425fb"] * 3
    assert fields["CapInh"] == fields["CapAmb"] == "0" * 16
    assert fields["NoNewPrivs"] == "0"


def test_a_user_has_no_effective_capabilities_but_ambient_ones(box: Box) -> None:
    capabilities = Capabilities(
        bounding=("CAP_NET_RAW", "CAP_CHOWN"),
        effective=("CAP_NET_RAW",),
        permitted=("CAP_NET_RAW", "CAP_CHOWN"),
        inheritable=("CAP_NET_RAW",),
        ambient=("CAP_NET_RAW",),
    )
    fields = status_fields(
        box.run(
            "cat",
            "/proc/self/status",
            process_capabilities=capabilities,
            process_user=User(uid=1000, gid=1000),
            process_no_new_privileges=True,
        ).lines
    )
    assert fields["CapEff"] == fields["CapPrm"] == fields["CapAmb"] == f"{1 << 13:016x}"
    assert fields["CapBnd"] == f"{1 << 13 | 1:016x}"
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_seccomp_filter_is_loaded_last(box: Box, no_new_privileges: bool) -> None:
    wanted = profile.default_profile(("CAP_CHOWN",))
    result = box.run(
        "sh",
        "-c",
        "cat /proc/self/status; mount -t tmpfs x /tmp",
        linux_seccomp=wanted,
        process_no_new_privileges=no_new_privileges,
    )
    fields = status_fields(result.lines)
    assert fields["Seccomp"] == "2"
    assert fields["CapEff"] == "00000000a80425fb"
    assert b"mount: permission denied" in result.stderr


def test_masked_and_read_only_paths(box: Box) -> None:
    script = """
        wc -c < /proc/timer_list; ls /sys/firmware | wc -w
        echo 1 > /proc/sys/kernel/pid_max; echo b > /proc/sysrq-trigger; echo x > /proc/keys
        cat /proc/keys
    """
    result = box.run("sh", "-c", script)
    assert result.lines == ["0", "0"]
    refused = 1 + Path("/proc/sysrq-trigger").exists()  # not all kernels have it
    assert result.stderr.count(b"Read-only file system") == refused


def test_devices_and_links(box: Box) -> None:
    script = """
        for name in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$name; done
        for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done
        echo gone > /dev/null; head -c 3 /dev/zero | wc -c
    """
    assert box.run("sh", "-c", script).lines == [
        "/dev/null 1:3 666",
        "/dev/zero 1:5 666",
        "/dev/full 1:7 666",
        "/dev/random 1:8 666",
        "/dev/urandom 1:9 666",
        "/dev/tty 5:0 666",
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
        "3",
    ]


def test_a_device_that_is_asked_for(box: Box) -> None:
    device = LinuxDevice(
        type="c", path="/dev/deep/fuse", major=10, minor=229, file_mode=0o640, uid=7, gid=8
    )
    result = box.run("stat", "-c", "%t:%T %a %u %g", "/dev/deep/fuse", linux_devices=(device,))
    assert result.lines == ["a:e5 640 7 8"]


def test_control_groups_are_shown_from_their_own_root(box: Box) -> None:
    lines = box.run("sh", "-c", "cat /proc/self/cgroup; touch /sys/fs/cgroup/x").lines
    assert lines
    assert all(line.split(":")[2] == "/" for line in lines)


def test_the_process_is_in_its_group(box: Box) -> None:
    process = box.start("sleep", "100")
    lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
    name = f"/{box.prefix}/{box.bundle().name}"
    # Beside version 1, the tree of version 2 limits nothing and is not entered.
    entered = [line for line in lines if not line.startswith("0:") or len(lines) == 1]
    assert entered
    assert all(line.endswith(f":{name}") for line in entered)
    process.signal(9)
    wait(process)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{box.prefix}/{box.bundle().name}"))


def test_the_layer_stays_as_it_is_and_changes_are_kept_apart(box: Box) -> None:
    result = box.run("sh", "-c", "echo new > /data/new; cat /data/file")
    assert result.lines == ["from the image"]
    assert not (box.layer / "data/new").exists()
    assert (box.bundle() / "upper/data/new").read_text() == "new\n"


def test_a_read_only_root(box: Box) -> None:
    for name in ("proc", "dev", "sys"):
        (box.layer / name).mkdir(exist_ok=True)
    result = box.run(
        "sh",
        "-c",
        "touch /x; touch /dev/shm/y && echo yes",
        root=Root(path="rootfs", readonly=True),
    )
    assert result.lines == ["yes"]
    assert b"Read-only file system" in result.stderr


def test_mountpoints_that_were_made_are_told(box: Box) -> None:
    source = box.directory / "source"
    source.mkdir()
    (source / "file").write_text("hello\n")
    mounts = (
        *box.spec("true").mounts,
        Mount(destination="/a/b/c", type="bind", source=str(source), options=("rbind", "ro")),
        Mount(destination="/data/one", type="bind", source=str(source / "file"), options=("bind",)),
    )
    result = box.run("sh", "-c", "cat /a/b/c/file /data/one; touch /a/b/c/x", mounts=mounts)
    assert result.lines == ["hello", "hello"]
    assert b"Read-only file system" in result.stderr
    made = set(result.process.created_mountpoints)
    assert {"/a", "/a/b", "/a/b/c", "/data/one"} <= made
    assert not {"/dev/pts", "/dev/shm", "/data"} & made


def test_an_empty_tmpfs_takes_the_mode_and_content_of_what_it_hides(box: Box) -> None:
    mounts = (
        *box.spec("true").mounts,
        Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("nosuid",)),
        Mount(destination="/data", type="tmpfs", source="tmpfs", options=("tmpcopyup",)),
    )
    result = box.run("sh", "-c", "stat -c %a /tmp; cat /data/file; touch /data/x", mounts=mounts)
    assert result.lines == ["1777", "from the image"]
    assert not (box.bundle() / "upper/data").exists()


def test_hostile_links_do_not_lead_out_of_the_root(box: Box) -> None:
    outside = box.directory / "outside"
    outside.mkdir()
    upper = box.directory / f"{box.prefix}-1/upper"
    spec = box.spec("sh", "-c", "ls /work /abs; echo made > /abs/in")
    source = box.directory / "source"
    source.mkdir()
    binds = tuple(
        Mount(destination=target, type="bind", source=str(source), options=("rbind",))
        for target in ("/link/below", "/dots", "/dangling")
    )
    request = box.request(msgspec.structs.replace(spec, mounts=(*spec.mounts, *binds)))
    (upper / "link").symlink_to(outside)
    (upper / "dots").symlink_to("../../../../../../../../.." + str(outside))
    (upper / "dangling").symlink_to("/new/place")
    (upper / "work").mkdir()
    (upper / "abs").mkdir()
    process = box.keep(box.runtime.start(request))
    assert wait(process).code == 0
    assert list(outside.iterdir()) == []
    inside = str(outside).lstrip("/")
    assert (upper / inside / "below").is_dir()
    assert (upper / "new/place").is_dir()


def test_proc_is_not_mounted_through_a_link(box: Box) -> None:
    request = box.request(box.spec("true"))
    (box.bundle() / "upper/proc").symlink_to("data")
    with pytest.raises(InternalError, match="cannot mount proc on /proc: too many levels of"):
        box.runtime.start(request)


def test_a_working_directory_is_made(box: Box) -> None:
    assert box.run("pwd", process_cwd="/deep/work").lines == ["/deep/work"]
    assert (box.bundle() / "upper/deep/work").is_dir()


def test_a_working_directory_only_for_its_user(box: Box) -> None:
    request = box.request(
        box.spec("pwd", process_cwd="/own", process_user=User(uid=1000, gid=1000))
    )
    own = box.bundle() / "upper/own"
    own.mkdir(mode=0o700)
    os.chown(own, 1000, 1000)
    assert wait(box.keep(box.runtime.start(request))).code == 0


@pytest.mark.parametrize("cwd", [f"/proc/self/fd/{number}" for number in range(3, 20)])
def test_no_descriptor_of_the_host_serves_as_working_directory(box: Box, cwd: str) -> None:
    with pytest.raises((InternalError, InvalidArgument), match="working directory"):
        box.start("pwd", process_cwd=cwd)


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])
def test_no_descriptor_of_the_host_leads_to_a_program(box: Box, number: int) -> None:
    with pytest.raises((CommandNotFound, CommandNotExecutable)):
        box.start(f"/proc/self/fd/{number}/self/exe")


def test_resource_limits(box: Box) -> None:
    limits = (
        Rlimit(type="RLIMIT_NOFILE", soft=100, hard=200),
        Rlimit(type="RLIMIT_CORE", soft=0, hard=0),
    )
    lines = box.run("sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c", process_rlimits=limits).lines
    assert lines == ["100", "200", "0"]


def test_a_limit_above_the_engines_own_is_refused_with_a_sentence(box: Box) -> None:
    limits = (Rlimit(type="RLIMIT_NOFILE", soft=1, hard=1 << 40),)
    with pytest.raises(PermissionDenied, match=r"cannot set RLIMIT_NOFILE to 1:\d+: this engine"):
        box.start("true", process_rlimits=limits)


def test_sysctls_of_own_namespaces(box: Box) -> None:
    wanted = {"kernel.shmmni": "1234", "net.ipv4.ip_unprivileged_port_start": "80"}
    script = "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert box.run("sh", "-c", script, linux_sysctl=wanted).lines == ["1234", "80"]


def test_an_oom_score(box: Box) -> None:
    assert box.run("cat", "/proc/self/oom_score_adj", process_oom_score_adj=500).lines == ["500"]


def test_a_score_below_the_engines_own_is_refused_with_a_sentence(box: Box) -> None:
    """Not in words which command lines take for those about a program that may not be executed."""
    if "CAP_SYS_RESOURCE" in host_facts().capabilities:
        pytest.skip("this engine may lower any score")
    with pytest.raises(PermissionDenied, match="may not lower it below 0"):
        box.start("true", process_oom_score_adj=-500)


def test_a_passed_network_namespace_is_entered(box: Box) -> None:
    with open("/proc/self/ns/net", "rb") as mine:
        process = box.start("sleep", "100", netns=True, fds=(mine.fileno(),))
    assert os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net")


def test_a_namespace_is_joined_by_its_path(box: Box) -> None:
    first = box.start("sleep", "100")
    namespaces = (
        LinuxNamespace(type="mount"),
        LinuxNamespace(type="uts"),
        LinuxNamespace(type="pid", path=f"/proc/{first.pid}/ns/pid"),
        LinuxNamespace(type="ipc", path=f"/proc/{first.pid}/ns/ipc"),
        LinuxNamespace(type="network", path=f"/proc/{first.pid}/ns/net"),
    )
    second = box.start("sleep", "100", linux_namespaces=namespaces)
    for kind in ("pid", "ipc", "net"):
        assert os.readlink(f"/proc/{first.pid}/ns/{kind}") == os.readlink(
            f"/proc/{second.pid}/ns/{kind}"
        )
    second.signal(9)
    assert wait(second).code == 137


def test_descriptors_are_held_as_long_as_the_container_runs(box: Box) -> None:
    held = socket.create_server(("127.0.0.1", 0))
    port = held.getsockname()[1]
    process = box.start("sleep", "100", fds=(held.fileno(),))
    held.close()
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port))
    process.signal(9)
    wait(process)
    socket.create_server(("127.0.0.1", port)).close()


# --- failures ---


@pytest.mark.parametrize(
    ("program", "error", "text"),
    [
        ("nosuch", CommandNotFound, 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", CommandNotFound, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/data", CommandNotExecutable, 'exec: "/data": is a directory'),
        ("/data/file", CommandNotExecutable, 'exec: "/data/file": permission denied'),
    ],
)
def test_a_program_that_cannot_be_has_dockers_words(
    box: Box, program: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        box.start(program)
    assert str(caught.value) == text
    assert not (box.bundle() / "state").exists()


def test_a_program_in_no_known_format(box: Box) -> None:
    request = box.request(box.spec("/odd"))
    odd = box.bundle() / "upper/odd"
    odd.write_bytes(b"\x00\x01\x02 not a program")
    odd.chmod(0o755)
    with pytest.raises(CommandNotExecutable, match="exec /odd: exec format error"):
        box.runtime.start(request)


def test_an_interpreter_that_is_missing(box: Box) -> None:
    request = box.request(box.spec("/script"))
    script = box.bundle() / "upper/script"
    script.write_text("#!/nosuch/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CommandNotFound, match="exec /script: no such file or directory"):
        box.runtime.start(request)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"process_args": ()}, InvalidArgument, "no command specified"),
        ({"process_cwd": "work"}, InvalidArgument, "'work' is not an absolute path"),
        ({"linux_sysctl": {"kernel.panic": "1"}}, InvalidArgument, "not in a separate kernel"),
        (
            {"process_rlimits": (Rlimit(type="RLIMIT_X", soft=1, hard=1),)},
            InvalidArgument,
            "unknown resource limit 'RLIMIT_X'",
        ),
        (
            {"mounts": (Mount(destination="/x", type="bind", source="/no/such"),)},
            NotFound,
            "bind source path does not exist: /no/such",
        ),
        (
            {"mounts": (Mount(destination="/x", type="nosuchfs", source="x"),)},
            InternalError,
            "cannot mount nosuchfs on /x: no such device",
        ),
        ({"process_apparmor_profile": "p"}, Exception, "this kernel runs without AppArmor"),
        ({"process_selinux_label": "p"}, NotSupported, "this kernel runs without SELinux"),
        ({"linux_mount_label": "p"}, NotSupported, "label 'p' of mounts: this kernel runs without"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    box: Box, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    if "process_apparmor_profile" in changes and Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("this machine has AppArmor")
    args = changes.pop("process_args", ("true",))
    with pytest.raises(error, match=text):
        box.start(*args, **changes)
    assert not (box.bundle() / "state").exists()


def test_a_config_that_is_not_json(box: Box) -> None:
    request = box.request(box.spec("true"))
    (box.bundle() / "config.json").write_text("{")
    with pytest.raises(InvalidArgument, match="is not a runtime configuration"):
        box.runtime.start(request)
    (box.bundle() / "config.json").unlink()
    with pytest.raises(InternalError, match=r"cannot read .*config\.json: No such"):
        box.runtime.start(request)


def test_the_launcher_runs_from_a_read_only_mount(box: Box) -> None:
    executable = os.open(f"/proc/{box.runtime.launcher_pid}/exe", os.O_PATH)
    assert os.fstatvfs(executable).f_flag & os.ST_RDONLY
    os.close(executable)
