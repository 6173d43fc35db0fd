"""Volumes and mounts with the unmodified docker command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root

Cli = Callable[..., subprocess.CompletedProcess[str]]


def output(cli: Cli, *words: str) -> str:
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(cli: Cli, *words: str) -> str:
    return output(cli, "run", "--rm", "--network", "none", *words)


def test_volumes_with_options(cli: Cli, tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    options = ("-o", "type=none", "-o", "o=bind,idmap=match-user", "-o", f"device={tmp_path}")
    output(cli, "volume", "create", *options, "--label", "mine=yes", "mapped")
    found = json.loads(output(cli, "volume", "inspect", "mapped"))[0]
    assert found["Options"] == {
        "type": "none", "o": "bind,idmap=match-user", "device": str(tmp_path),
    }  # fmt: skip
    assert run(cli, "-u", "5:5", "-v", "mapped:/v:nocopy", "busybox", "stat", "-c%u:%g", "/v") == (
        "5:5"
    )
    assert output(cli, "volume", "ls", "-q", "-f", "label=mine=yes") == "mapped"
    assert output(cli, "volume", "ls", "-q", "-f", "dangling=true", "-f", "name=map") == "mapped"
    assert "mapped" in output(cli, "system", "df", "-v")
    assert output(cli, "volume", "prune", "-f").startswith("Total reclaimed space")
    output(cli, "volume", "rm", "mapped")
    wrong = cli("volume", "create", "-o", "colour=red", "bad")
    assert 'invalid option: "colour"' in wrong.stderr


def test_all_forms_of_a_mount(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_text("deep")
    bound = f'"volume-opt=o=bind",volume-opt=type=none,volume-opt=device={tmp_path}'
    asked = (
        f"type=bind,src={tmp_path},dst=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate",
        f"type=volume,src=forms,dst=/all,volume-nocopy,volume-label=a=b,{bound},consistency=cached",
        "type=volume,src=forms,dst=/part,volume-subpath=sub",
        "type=image,src=busybox,dst=/i,image-subpath=etc",
        "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
    )
    words = [word for text in asked for word in ("--mount", text)]
    script = "cat /part/file /b/sub/file; ls /all; head -1 /i/passwd | cut -c1-4; stat -c %a /t"
    name = output(cli, "create", "--network", "none", *words, "busybox", "sh", "-c", script)
    assert output(cli, "start", "-a", name).split() == ["deepdeep" + "sub", "root", "1770"]
    mounts = json.loads(output(cli, "inspect", "-f", "{{json .Mounts}}", name))
    by_target: dict[str, dict[str, Any]] = {mount["Destination"]: mount for mount in mounts}
    assert by_target["/b"] == {
        "Type": "bind", "Source": str(tmp_path), "Destination": "/b", "Mode": "",
        "RW": False, "Propagation": "rprivate",
    }  # fmt: skip
    assert by_target["/t"] == {
        "Type": "tmpfs", "Source": "", "Destination": "/t", "Mode": "", "RW": True,
        "Propagation": "",
    }  # fmt: skip
    volume = by_target["/part"]
    assert (volume["Type"], volume["Name"], volume["Driver"], volume["Mode"]) == (
        "volume", "forms", "local", "z",
    )  # fmt: skip
    assert (by_target["/i"]["Type"], by_target["/i"]["RW"]) == ("image", False)
    assert run(cli, "--volumes-from", f"{name}:ro", "busybox", "cat", "/part/file") == "deep"
    refused = cli("image", "rm", "busybox")
    assert refused.returncode == 1
    output(cli, "rm", name)
    output(cli, "volume", "rm", "forms")


def test_what_is_refused_by_name(cli: Cli) -> None:
    for text, words in (
        ("type=cluster,src=x,dst=/v", "swarm"),
        ("type=npipe,src=x,dst=/v", "Windows"),
        ("type=bind,src=/nosuch-source,dst=/v", "bind source path does not exist"),
        ("type=volume,src=part,dst=/v,volume-subpath=../x", "must be a relative path"),
    ):
        done = cli("create", "--mount", text, "busybox")
        assert done.returncode != 0
        assert words in done.stderr


def test_update(cli: Cli) -> None:
    name = output(cli, "run", "-d", "--network", "none", "busybox", "sleep", "1000")
    limits = ("--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--pids-limit", "99")
    assert output(cli, "update", *limits, "--restart", "on-failure:2", name) == name
    template = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}"
    assert output(cli, "inspect", "-f", template, name) == "67108864 500000000 on-failure"
    output(cli, "rm", "-f", name)
