"""``update`` and ``--mount`` as bodies of requests."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.cli.mounts import parse_mount
from wherry.cli.options import UsageError, parse
from wherry.cli.update import COMMANDS, update_body


def body(*words: str) -> dict[str, Any]:
    return update_body(parse(COMMANDS["update"].options, words))


def test_only_what_is_said_is_sent() -> None:
    assert body("c") == {}
    assert body("--restart", "no", "--memory=64m", "--memory-swap", "-1", "c") == {
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "Memory": 64 << 20,
        "MemorySwap": -1,
    }
    assert body("--pids-limit", "0", "--cpus", "1.5", "--cpu-shares=0", "c") == {
        "PidsLimit": 0,
        "NanoCpus": 1_500_000_000,
        "CpuShares": 0,
    }


def test_ports_and_mounts() -> None:
    assert body(
        "--publish-add=8080:80", "--publish-rm", "90/udp",
        "--mount-add", "type=volume,src=v,dst=/v", "--mount-rm=/old", "c",
    ) == {
        "PublishAdd": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        "PublishRemove": ["90/udp"],
        "MountAdd": [{"Type": "volume", "Source": "v", "Target": "/v"}],
        "MountRemove": ["/old"],
    }  # fmt: skip


@pytest.mark.parametrize("words", [["--restart", "often"], ["--mount-add", "type=bind,dst=/x"]])
def test_bad_values(words: list[str]) -> None:
    with pytest.raises(UsageError):
        body(*words, "c")


def test_all_forms_of_a_mount() -> None:
    assert parse_mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770,tmpfs-opt=uid=5") == {
        "Type": "tmpfs",
        "Target": "/t",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770, "Options": [["uid", "5"]]},
    }
    assert parse_mount("type=image,src=i,dst=/i,image-subpath=a/b")["ImageOptions"] == {
        "Subpath": "a/b"
    }
    assert parse_mount('type=volume,dst=/v,"volume-opt=o=a,b",volume-subpath=s,src=v') == {
        "Type": "volume",
        "Target": "/v",
        "Source": "v",
        "VolumeOptions": {
            "DriverConfig": {"Options": {"o": "a,b"}},
            "Subpath": "s",
        },
    }
    options = parse_mount(
        "type=bind,src=/s,dst=/b,ro,bind-recursive=readonly,bind-idmap=match-user"
    )
    assert options["BindOptions"] == {"ReadOnlyForceRecursive": True, "IDMap": "match-user"}
