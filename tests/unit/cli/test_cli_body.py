"""From options to the body of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wherry.cli.create_body import create_body
from wherry.cli.create_options import CREATE
from wherry.cli.mounts import parse_mount, parse_volumes
from wherry.cli.options import Option, UsageError, parse
from wherry.cli.ports import parse_ports
from wherry.cli.values import csv_fields, parse_cpus, parse_duration, parse_size, split_image


def _body(*words: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
    options = (*CREATE, Option("-d --detach", "", "flag"))
    return create_body(parse(options, words, passes_on=True), environ or {})


def _host(*words: str) -> dict[str, Any]:
    host: dict[str, Any] = _body(*words, "image")["HostConfig"]
    return host


def test_a_bare_image() -> None:
    assert _body("busybox") == {
        "Image": "busybox",
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {"NetworkMode": "default"},
    }


def test_streams() -> None:
    body = _body("-it", "busybox")
    assert body["StdinOnce"]
    assert body["Tty"]
    detached = _body("-dit", "busybox")
    assert "AttachStdin" not in detached
    assert "StdinOnce" not in detached
    assert detached["OpenStdin"]
    assert "AttachStdout" not in _body("-a", "stderr", "busybox")


def test_command_and_entrypoint() -> None:
    assert _body("busybox", "ls", "-l")["Cmd"] == ["ls", "-l"]
    assert _body("--entrypoint", "sh", "busybox")["Entrypoint"] == ["sh"]
    assert _body("--entrypoint", "", "busybox")["Entrypoint"] == [""]


def test_environment(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# note\n\nA=1\nHOME\nMISSING\nB=x y=z\n")
    words = ("--env-file", str(tmp_path / "env"), "-e", "C=3", "-e", "USER", "-e", "NONE", "i")
    body = _body(*words, environ={"HOME": "/h", "USER": "me"})
    assert body["Env"] == ["A=1", "HOME=/h", "B=x y=z", "C=3", "USER=me"]


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a=1\nb\n")
    body = _body("--label-file", str(tmp_path / "labels"), "-l", "a=2", "-l", "c", "i")
    assert body["Labels"] == {"a": "2", "b": "", "c": ""}


def test_limits() -> None:
    host = _host(
        "-m", "512m", "--memory-swap", "-1", "--cpus", "1.5", "--pids-limit", "-1",
        "--memory-swappiness", "0", "--ulimit", "nofile=10:20", "--ulimit", "core=-1", "-c", "5",
    )  # fmt: skip
    assert host["Memory"] == 512 * 1024**2
    assert (host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (-1, 1_500_000_000, -1)
    assert (host["MemorySwappiness"], host["CpuShares"]) == (0, 5)
    assert host["Ulimits"][0] == {"Name": "nofile", "Soft": 10, "Hard": 20}
    assert host["Ulimits"][1] == {"Name": "core", "Soft": -1, "Hard": -1}


def test_zero_differs_from_nothing() -> None:
    assert _body("--stop-timeout", "0", "i")["StopTimeout"] == 0
    assert "StopTimeout" not in _body("i")
    assert _host("--init=false")["Init"] is False


def test_security(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    host = _host("--security-opt", f"seccomp={profile}", "--security-opt", "no-new-privileges")
    assert host["SecurityOpt"] == [
        'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}',
        "no-new-privileges",
    ]


def test_devices() -> None:
    devices = _host("--device", "/dev/a", "--device", "/dev/a:r", "--device", "/dev/a:/b:rw")
    assert [(d["PathInContainer"], d["CgroupPermissions"]) for d in devices["Devices"]] == [
        ("/dev/a", "rwm"),
        ("/dev/a", "r"),
        ("/b", "rw"),
    ]


def test_health() -> None:
    body = _body("--health-cmd", "true", "--health-interval", "1m30s", "--health-retries", "2", "i")
    assert body["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"],
        "Interval": 90 * 10**9,
        "Retries": 2,
    }
    assert _body("--no-healthcheck", "i")["Healthcheck"] == {"Test": ["NONE"]}


def test_networks() -> None:
    body = _body("--network", "own", "--network-alias", "a", "--ip", "10.0.0.5", "i")
    assert body["HostConfig"]["NetworkMode"] == "own"
    assert body["NetworkingConfig"]["EndpointsConfig"] == {
        "own": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}}
    }
    two = _body("--network", "name=a,alias=x,alias=y", "--network", "b", "i")
    assert two["NetworkingConfig"]["EndpointsConfig"] == {"a": {"Aliases": ["x", "y"]}, "b": {}}
    assert "NetworkingConfig" not in _body("--network", "own", "i")
    first = _body("--network", "name=a,gw-priority=-3", "i")
    assert first["NetworkingConfig"]["EndpointsConfig"] == {"a": {"GwPriority": -3}}


def test_host_ca_is_an_annotation() -> None:
    assert _host("--host-ca")["Annotations"] == {"org.wherry.host-ca": "true"}
    assert _host("--host-ca=false")["Annotations"] == {"org.wherry.host-ca": "false"}
    assert "Annotations" not in _host()


def test_restart() -> None:
    policy = _host("--restart", "on-failure:3")["RestartPolicy"]
    assert policy == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert "RestartPolicy" not in _host("--restart", "no")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-m", "lots"), "invalid size"),
        (("--network", "name=a,gw-priority=high"), "invalid gw-priority"),
        (("--cpus", "x"), "number of CPUs"),
        (("--restart", "often"), "restart policy"),
        (("--restart", "always", "--rm"), "--restart and --rm"),
        (("-a", "stdio"), "STDIN, STDOUT and STDERR"),
        (("-d", "-a", "stdin"), "--attach and --detach"),
        (("--ulimit", "nofile"), "invalid ulimit"),
        (("--ulimit", "nofile=9:3"), "soft at most hard"),
        (("--device", "relative"), "invalid device"),
        (("--sysctl", "a"), "invalid sysctl"),
        (("--add-host", "a"), "add-host"),
        (("--network", "alias=x"), "no name"),
        (("--network", "name=x,foo=y"), "foo"),
        (("--network", "none", "--network-alias", "x"), "--network"),
        (("--no-healthcheck", "--health-cmd", "x"), "conflicts"),
        (("--health-interval", "5"), "invalid duration"),
        (("-e", "=x"), "invalid environment"),
        (("-p", "a"), "invalid port"),
        (("-v", "/a:b"), "absolute"),
        (("--mount", "target=/x,colour=red"), "colour"),
    ],
)
def test_mistakes_name_the_option(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        _body(*words, "image")


# --- ports, volumes, mounts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("80", {"80/tcp": [("", "")]}),
        ("8080:80", {"80/tcp": [("", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [("127.0.0.1", "")]}),
        ("127.0.0.1:8080:80/udp", {"80/udp": [("127.0.0.1", "8080")]}),
        ("[::1]:8080:80", {"80/tcp": [("::1", "8080")]}),
        ("8000-8001:80-81", {"80/tcp": [("", "8000")], "81/tcp": [("", "8001")]}),
        ("8000-8010:80", {"80/tcp": [("", "8000-8010")]}),
        ("published=1,target=2,protocol=udp", {"2/udp": [("", "1")]}),
    ],
)
def test_published_ports(text: str, bindings: dict[str, list[tuple[str, str]]]) -> None:
    exposed, found = parse_ports([text], ["9"])
    assert {port: [tuple(b.values()) for b in each] for port, each in found.items()} == bindings
    assert set(exposed) == {*bindings, "9/tcp"}


@pytest.mark.parametrize(
    "text",
    ["", ":", "x:80", "80:x", "70000", "1-2:1-3", "2-1", "80/ppp", "[::1:80", "-5", "target="],
)
def test_ports_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ports([text], [])


def test_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    binds, anonymous = parse_volumes(["/data", "name:/a:ro", "./here:/b", "/c:/d"])
    assert binds == ["name:/a:ro", f"{tmp_path}/here:/b", "/c:/d"]
    assert anonymous == {"/data": {}}


def test_mounts() -> None:
    assert parse_mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave") == {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rslave"},
    }
    assert parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770") == {
        "Type": "tmpfs",
        "Target": "/t",
        "TmpfsOptions": {"SizeBytes": 1024**2, "Mode": 0o1770},
    }
    assert parse_mount('source=v,target=/v,"volume-opt=o=a,b",volume-nocopy') == {
        "Type": "volume",
        "Source": "v",
        "Target": "/v",
        "VolumeOptions": {"DriverConfig": {"Options": {"o": "a,b"}}, "NoCopy": True},
    }


@pytest.mark.parametrize(
    "text",
    [
        "type=bind,target=/b",
        "source=x",
        "type=bind,source=/a,target=/b,tmpfs-size=1m",
        "target=/x,readonly=perhaps",
        'target=/x,"source=y',
        "target",
        "type=tmpfs,target=/t,tmpfs-mode=9",
    ],
)
def test_mounts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_mount(text)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("5", 5), ("1k", 1024), ("1.5g", 3 * 2**29), ("2MB", 2**21), ("1KiB", 1024)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("", 0), ("0", 0), ("1.5s", 1_500_000_000), ("1h2m3s", 3_723 * 10**9), ("5ms", 5_000_000)],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["nan", "inf", "x"])
def test_cpus_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_cpus(text)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("busybox", ("busybox", "")),
        ("busybox:1", ("busybox", "1")),
        ("host:5000/x", ("host:5000/x", "")),
        ("host:5000/x:2", ("host:5000/x", "2")),
        ("x@sha256:ab", ("x", "sha256:ab")),
        ("x:1@sha256:ab", ("x", "sha256:ab")),
    ],
)
def test_image_names(name: str, parts: tuple[str, str]) -> None:
    assert split_image(name) == parts


def test_fields_with_quotes() -> None:
    assert csv_fields('a,"b,c","d""e",') == ["a", "b,c", 'd"e', ""]


def test_limits_of_devices() -> None:
    host = _host("--device-read-bps", "/dev/sda:1mb", "--blkio-weight-device", "/dev/sda:200")
    assert host["BlkioDeviceReadBps"] == [{"Path": "/dev/sda", "Rate": 1 << 20}]
    assert host["BlkioWeightDevice"] == [{"Path": "/dev/sda", "Weight": 200}]


@pytest.mark.parametrize("text", ["sda:1mb", "/dev/sda:much", "/dev/sda"])
def test_wrong_limits_of_devices(text: str) -> None:
    with pytest.raises(UsageError):
        _host("--device-read-bps", text)


@pytest.mark.parametrize(
    ("text", "member", "value"),
    [
        ("all", "Count", -1),
        ("2", "Count", 2),
        ('"device=0,1",driver=cdi', "DeviceIDs", ["0", "1"]),
        ("capabilities=utility", "Capabilities", [["gpu", "utility"]]),
    ],
)
def test_requests_for_gpus(text: str, member: str, value: object) -> None:
    assert _host("--gpus", text)["DeviceRequests"][0][member] == value
