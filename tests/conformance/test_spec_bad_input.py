"""Bad input: one sentence, status 1, and a line of JSON in the log, which engines read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import OTHER, Bundles, Config, Done, base_config, mount

OWN = pytest.mark.skipif(bool(OTHER), reason="runc takes it, or says something else")

Edit = Callable[[Config], object]


def refused(oci: Bundles, edit: Edit | None, *args: str, name: str = "bad") -> str:
    """What a command says of a bundle, on standard error and in the log alike. No tree is needed,
    since nothing is to be set up."""
    where = oci.directory / "bad"
    (where / "rootfs").mkdir(parents=True)
    if edit is not None:
        config = base_config("true")
        config["linux"]["cgroupsPath"] = f"/{oci.prefix}/bad"
        edit(config)
        (where / "config.json").write_text(json.dumps(config))
    log = where / "log"
    done = oci.call(
        "--log", str(log), "--log-format", "json",
        *(args or ("create", "--bundle", str(where))), name,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return sentence(done, log)


def sentence(done: Done, log: Path) -> str:
    """The error, which has to be one, of one line."""
    assert done.returncode == 1
    errors = [entry for entry in map(json.loads, log.read_text().splitlines())
              if entry["level"] == "error"]  # fmt: skip
    assert len(errors) == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*", errors[0]["time"])
    text = str(errors[0]["msg"])
    assert "\n" not in text
    if not OTHER:
        assert done.stderr == f"wherry-runtime: {text}\n"
    return text


def test_a_bundle_without_a_configuration(oci: Bundles) -> None:
    assert "config.json" in refused(oci, None)


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "../../etc"])
def test_an_id_that_is_none(oci: Bundles, name: str) -> None:
    assert refused(oci, id, name=name)


def test_a_root_that_is_not_there(oci: Bundles) -> None:
    text = refused(oci, lambda config: config["root"].update(path="moon"))
    assert "moon" in text


def set_process(**fields: Any) -> Edit:
    return lambda config: config["process"].update(fields)


def set_linux(**fields: Any) -> Edit:
    return lambda config: config["linux"].update(fields)


@OWN
@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (set_linux(namespaces=[{"type": "moon"}]), "$.linux.namespaces[0].type"),
        (set_linux(rootfsPropagation="moon"), "$.linux.rootfsPropagation"),
        (set_linux(seccomp={"defaultAction": "MOON"}), "$.linux.seccomp.defaultAction"),
        (set_linux(devices=[{"type": "m", "path": "/dev/x"}]), "$.linux.devices[0].type"),
        (set_process(scheduler={"policy": "SCHED_MOON"}), "$.process.scheduler.policy"),
        (set_process(user={"uid": -1, "gid": 0}), "$.process.user.uid"),
        (lambda config: config.update(windows={}), "$.windows"),
        (lambda config: config.update(ociVersion="9.0.0"), "$.ociVersion"),
        (
            lambda config: config["mounts"].append(mount("/../out", "tmpfs", "tmpfs")),
            "$.mounts[4].destination",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_is_refused_with_its_path(oci: Bundles, edit: Edit, path: str) -> None:
    assert path in refused(oci, edit)
    assert not (oci.directory / "root" / "bad").exists()


def test_a_resource_limit_that_is_not_known(oci: Bundles) -> None:
    limit = {"type": "RLIMIT_MOON", "soft": 1, "hard": 1}
    assert "RLIMIT_MOON" in refused(oci, set_process(rlimits=[limit]))


@OWN
def test_a_controller_that_is_not_there(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        config["linux"]["resources"]["hugepageLimits"] = [{"pageSize": "3MB", "limit": 1}]

    assert "hugetlb.3MB" in refused(oci, edit)
    assert not (oci.directory / "root" / "bad").exists()


def test_a_container_that_has_been_started(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    assert refused(oci, id, "start", name=name)
    assert oci.state(name)["status"] == "running"


def test_an_id_that_is_taken(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    where = oci.directory / name
    assert refused(oci, None, "create", "--bundle", str(where), name=name)
    assert oci.state(name)["status"] == "running"


@pytest.mark.parametrize("command", ["state", "start", "kill", "pause", "resume", "delete", "ps"])
def test_a_container_that_is_not_there(oci: Bundles, command: str) -> None:
    assert "does not exist" in refused(oci, id, command)


@OWN
def test_features_are_what_the_schema_has(oci: Bundles) -> None:
    told = json.loads(oci.call("features").stdout)
    assert (told["ociVersionMin"], told["ociVersionMax"]) == ("1.0.0", "1.2.0")
    assert len(told["hooks"]) == 6
    assert {"bind", "rro", "idmap", "tmpcopyup"} <= set(told["mountOptions"])
    linux = told["linux"]
    assert len(linux["namespaces"]) == 8
    assert all(re.fullmatch("CAP_[A-Z_]+", name) for name in linux["capabilities"])
    assert all(type(value) is bool for value in linux["cgroup"].values())
    assert set(linux["cgroup"]) == {"v1", "v2", "systemd", "systemdUser", "rdma"}
    seccomp = linux["seccomp"]
    assert len(seccomp["actions"]) == 9
    assert len(seccomp["operators"]) == 7
    assert "SCMP_ARCH_X86_64" in seccomp["archs"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    for name in ("apparmor", "selinux", "intelRdt", "netDevices"):
        assert type(linux[name]["enabled"]) is bool


def test_states_are_what_the_schema_has(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    running = oci.state(name)
    oci.call("kill", name, "KILL")
    oci.await_status(name, "stopped")
    for told, status in ((running, "running"), (oci.state(name), "stopped")):
        assert told["status"] == status
        assert re.fullmatch(r"1\.\d+\.\d+.*", told["ociVersion"])
        assert told["id"] == name
        assert told["bundle"] == str(oci.directory / name)
        assert type(told["pid"]) is int
        assert (told["pid"] > 0) == (status == "running")
        assert all(type(value) is str for value in (told.get("annotations") or {}).values())


# --- user namespaces that are joined ---


def joining(path: str, **mappings: Any) -> Edit:
    def edit(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "user", "path": path})
        config["linux"].update(mappings)

    return edit


@OWN
def test_mappings_that_are_not_those_of_the_users_that_are_joined(oci: Bundles) -> None:
    others = [{"containerID": 0, "hostID": 200000, "size": 1000}]
    with subprocess.Popen(
        ["unshare", "-U", "sh", "-c", "echo ready; exec cat"], stdin=-1, stdout=-1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        path = f"/proc/{process.pid}/ns/user"
        assert refused(oci, joining(path)) == f"the user namespace {path} has no mappings yet"
        shutil.rmtree(oci.directory / "bad")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text("0 100000 1000\n")
        said = refused(oci, joining(path, uidMappings=others, gidMappings=others))
        process.kill()
    assert "namespace path and non-matching mapping" in said


@OWN
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/self/ns/user", "cannot enter the user namespace"),
        ("/proc/self/ns/net", "cannot enter the user namespace"),
        ("/etc/hostname", "cannot enter the user namespace"),
        ("/nosuch", "cannot open the user namespace"),
    ],
)
def test_what_is_joined_is_no_user_namespace_for_it(oci: Bundles, path: str, words: str) -> None:
    assert words in refused(oci, joining(path))
