"""``commit``, ``import``, ``network`` and ``events`` as their requests show them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.cli.main import run
from wherry.testing.fake_api import FakeApi

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "api.sock") as server:
        yield server


@pytest.fixture
def cli(api: FakeApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: str) -> tuple[int, str, str]:
        code = run(words, {"WHERRY_HOST": api.host, "HOME": str(tmp_path)})
        sys.stdout.flush()
        return (code, *capfd.readouterr())

    return call


def test_commit(api: FakeApi, cli: Cli) -> None:
    api.on("POST", "/commit", status=201, json={"Id": "sha256:1"})
    assert cli("commit", "-m", "why", "-c", "ENV a=b", "box", "host:1/x:2") == (0, "sha256:1\n", "")
    assert api.requests[-1].query == {
        "container": "box",
        "comment": "why",
        "changes": "ENV a=b",
        "pause": "1",
        "repo": "host:1/x",
        "tag": "2",
    }


def test_import_of_a_file(api: FakeApi, cli: Cli, tmp_path: Path) -> None:
    archive = tmp_path / "root.tar"
    archive.write_bytes(b"an archive")
    api.on("POST", "/images/create", lines=[{"status": "sha256:1"}])
    code, out, _ = cli("import", "--platform", "linux/arm64", str(archive), "x")
    assert (code, out) == (0, "sha256:1\n")
    sent = api.requests[-1]
    assert sent.query == {"fromSrc": "-", "platform": "linux/arm64", "repo": "x"}
    assert sent.body == b"an archive"


def test_import_of_a_url_sends_no_body(api: FakeApi, cli: Cli) -> None:
    api.on("POST", "/images/create", lines=[{"status": "sha256:1"}])
    assert cli("import", "http://host/root.tar")[0] == 0
    assert api.requests[-1].query == {"fromSrc": "http://host/root.tar"}
    assert api.requests[-1].body == b""


def test_import_of_an_absent_file(api: FakeApi, cli: Cli) -> None:
    code, _, err = cli("import", "/absent.tar")
    assert (code, err) == (1, "wherry: /absent.tar: No such file or directory\n")
    assert not api.requests


def test_networks_removed_by_force(api: FakeApi, cli: Cli) -> None:
    api.on("DELETE", "/networks/here", status=204)
    api.fail("DELETE", "/networks/gone", 404, "network gone not found")
    assert cli("network", "rm", "-f", "gone", "here") == (0, "here\n", "")
    assert cli("network", "rm", "gone") == (1, "", "wherry: network gone not found\n")


def test_a_network_without_ipv4(api: FakeApi, cli: Cli) -> None:
    api.on("POST", "/networks/create", status=201, json={"Id": "1"})
    assert cli("network", "create", "--ipv4=false", "--ipv6", "six")[0] == 0
    sent = json.loads(api.requests[-1].body)
    assert (sent["EnableIPv4"], sent["EnableIPv6"]) == (False, True)


def test_gateways_find_their_subnets(api: FakeApi, cli: Cli) -> None:
    api.on("POST", "/networks/create", status=201, json={"Id": "1"})
    words = ["--subnet", "fd00:1::/64", "--subnet", "10.1.0.0/16", "--gateway", "10.1.0.9"]
    words += ["--gateway", "fd00:1::9", "--ip-range", "10.1.2.0/24", "--aux-address", "a=10.1.0.5"]
    assert cli("network", "create", *words, "n")[0] == 0
    assert json.loads(api.requests[-1].body)["IPAM"]["Config"] == [
        {"Subnet": "fd00:1::/64", "Gateway": "fd00:1::9"},
        {
            "Subnet": "10.1.0.0/16",
            "Gateway": "10.1.0.9",
            "IPRange": "10.1.2.0/24",
            "AuxiliaryAddresses": {"a": "10.1.0.5"},
        },
    ]
    foreign = ["--subnet", "fd00:1::/64", "--subnet", "10.1.0.0/16", "--gateway", "10.2.0.9"]
    code, _, err = cli("network", "create", *foreign, "n")
    assert code == 1
    assert "no matching subnet for 10.2.0.9" in err


def test_containers_removed_by_force(api: FakeApi, cli: Cli) -> None:
    api.on("DELETE", "/containers/here", status=204)
    api.fail("DELETE", "/containers/gone", 404, "No such container: gone")
    complaint = "wherry: No such container: gone\n"
    assert cli("rm", "-f", "gone", "here") == (0, "here\n", complaint)
    assert cli("rm", "gone") == (1, "", complaint)


def test_a_directory_that_is_not_there_is_told_by_its_name(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/images/get")
    complaint = "wherry: /absent/x.tar: No such file or directory\n"
    assert cli("save", "-o", "/absent/x.tar", "busybox") == (1, "", complaint)


def test_verbose_inspection_of_a_network(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/networks/n", json={"Name": "n"})
    assert cli("network", "inspect", "-v", "n", "-f", "{{.Name}}") == (0, "n\n", "")
    assert api.requests[-1].query == {"verbose": "1"}


def test_templates_of_events_have_dockers_names(api: FakeApi, cli: Cli) -> None:
    event = {"status": "start", "id": "1", "Type": "container", "scope": "local", "timeNano": 5}
    api.on("GET", "/events", lines=[event])
    form = "{{.Status}} {{.ID}} {{.Type}} {{.Scope}} {{.TimeNano}}"
    assert cli("events", "--format", form)[1] == "start 1 container local 5\n"
    assert json.loads(cli("events", "--format", "json")[1]) == event


def test_the_version_of_the_api_in_a_template(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/version", json={"Version": "1", "ApiVersion": "1.51"})
    assert cli("version", "--format", "{{.Server.APIVersion}}") == (0, "1.51\n", "")
    shown = json.loads(cli("version", "--format", "json")[1])
    assert shown["Server"] == {"Version": "1", "ApiVersion": "1.51"}


def test_space_usage_in_detail(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/system/df", json=_USAGE)
    code, out, _ = cli("system", "df", "-v")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["busybox", "latest", "1" * 12, "N/A", "2MB", "500kB", "1.5MB", "1"] in lines
    assert [*["2" * 12, "busybox", '"sleep', '1"', "0", "10B", "N/A"], "Up", "web"] in lines
    assert ["data", "3", "7B"] in lines
    assert "Build cache usage: 5B" in out.splitlines()
    assert ["3" * 12, "regular", "5B", "N/A", "N/A", "4", "true"] in lines


def test_details_have_no_format(api: FakeApi, cli: Cli) -> None:
    api.on("GET", "/system/df", json=_USAGE)
    code, out, err = cli("system", "df", "-v", "--format", "json")
    assert (code, out) == (1, "")
    assert "conflicting options: --format and --verbose" in err


_USAGE = {
    "Images": [
        {
            "Id": "sha256:" + "1" * 64,
            "RepoTags": ["busybox:latest"],
            "Created": 0,
            "Size": 2_000_000,
            "SharedSize": 500_000,
            "Containers": 1,
        }
    ],
    "Containers": [
        {
            "Id": "2" * 64,
            "Image": "busybox",
            "Command": "sleep 1",
            "Created": 0,
            "SizeRw": 10,
            "SizeRootFs": 2_000_010,
            "State": "running",
            "Status": "Up",
            "Names": ["/web"],
        }
    ],
    "Volumes": [{"Name": "data", "UsageData": {"Size": 7, "RefCount": 3}}],
    "BuildCache": [
        {"ID": "3" * 64, "Type": "regular", "Size": 5, "UsageCount": 4, "Shared": True},
    ],
}
