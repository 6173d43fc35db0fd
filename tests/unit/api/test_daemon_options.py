"""Flags and the configuration file of the daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wherry.daemon.environment import ca_bundle, proxy_environment
from wherry.daemon.options import BadOptions, read_options


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """``config(key=value)`` writes a file and gives the flags that name it."""

    def write(text: str = "", **members: Any) -> list[str]:
        path = tmp_path / "daemon.json"
        named = {name.replace("_", "-"): value for name, value in members.items()}
        path.write_text(text or json.dumps(named))
        return ["--config-file", str(path)]

    return write


def test_defaults(config: Any) -> None:
    options = read_options(config("{}"))
    assert options.hosts == ("unix:///run/wherry/wherry.sock",)
    assert (options.data_root, options.exec_root) == ("/var/lib/wherry", "/run/wherry")
    assert (options.log_level, options.debug, options.live_restore) == ("info", False, True)


def test_flags_have_dockerds_names(config: Any) -> None:
    argv = (
        "-H unix:///a --host tcp://127.0.0.1:1 --data-root /d --exec-root=/e -p /pid -l warn -D"
        " -G docker --label a=b --insecure-registry r:5000 --registry-mirror https://m --mtu 1400"
        " --bip 10.0.0.1/24 --dns 1.1.1.1 --dns 8.8.8.8 --host-ca --debug=true"
    ).split()
    options = read_options([*config("{}"), *argv])
    assert options.hosts == ("unix:///a", "tcp://127.0.0.1:1")
    assert (options.data_root, options.exec_root, options.pidfile) == ("/d", "/e", "/pid")
    assert (options.log_level, options.debug, options.group) == ("warn", True, "docker")
    assert (options.labels, options.insecure_registries) == (("a=b",), ("r:5000",))
    assert (options.registry_mirrors, options.mtu, options.bip) == (
        ("https://m",),
        1400,
        "10.0.0.1/24",
    )
    assert (options.dns, options.host_ca) == (("1.1.1.1", "8.8.8.8"), True)


def test_the_file_has_dockerds_keys(config: Any) -> None:
    flags = config(
        hosts=["unix:///x"],
        debug=True,
        labels=["a=b"],
        insecure_registries=["r"],
        registry_mirrors=["m"],
        data_root="/d",
        proxies={"http-proxy": "http://p"},
    )
    options = read_options(flags)
    assert (options.hosts, options.debug, options.labels) == (("unix:///x",), True, ("a=b",))
    assert options.proxies == {"http-proxy": "http://p"}


@pytest.mark.parametrize(
    ("members", "argv", "words"),
    [
        ({"nosuch": 1}, [], "a key that is not known: 'nosuch'"),
        ({"debug": "yes"}, [], "'debug' in .* has a wrong value"),
        ({"hosts": "unix:///x"}, [], "'hosts' in .* has a wrong value"),
        ({"tlsverify": "yes"}, [], "'tlsverify' in .* has a wrong value"),
        ({"debug": False}, ["-D"], "both as a flag and in the configuration file: debug: "),
        ({"log-driver": "nosuch"}, [], "no log driver named 'nosuch' is registered"),
        ({"log-opts": {"labels": "a"}}, [], "unknown log opt 'labels' for local log driver"),
        ({"log-opts": {"max-size": "1m"}}, ["--log-opt=max-file=2"], "both as a flag"),
        ({"log-opts": ["max-size=1m"]}, [], "'log-opts' in .* has a wrong value"),
        ({"log-driver": "gelf"}, [], "gelf-address is a required parameter"),
        ({}, ["--log-opt", "max-size"], "'max-size' is not of the form KEY=VALUE"),
        ({"log-level": "loud"}, [], "'loud' is not known"),
        ({"labels": ["=x"]}, [], "has no key"),
        ({"proxies": {"ftp": "x"}}, [], "unknown members: ftp"),
        ({}, ["--nosuch"], "unrecognized arguments: --nosuch"),
        ({}, ["--mtu", "big"], "invalid int value"),
        ({}, ["--debug=maybe"], "neither true nor false"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    config: Any, members: dict[str, Any], argv: list[str], words: str
) -> None:
    with pytest.raises(BadOptions, match=words) as caught:
        read_options([*config(json.dumps(members)), *argv])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_broken_file(config: Any, text: str) -> None:
    with pytest.raises(BadOptions, match="is not a JSON object"):
        read_options(config(text))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match="does not exist"):
        read_options(["--config-file", str(tmp_path / "nosuch")])


def test_proxies_of_the_file_win_and_have_both_spellings() -> None:
    found = proxy_environment(
        {"HTTP_PROXY": "http://env", "no_proxy": "localhost"}, {"http-proxy": "http://file"}
    )
    assert found["http_proxy"] == found["HTTP_PROXY"] == "http://file"
    assert found["NO_PROXY"] == "localhost"
    assert "https_proxy" not in found


def test_the_ca_bundle_of_the_environment_wins(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    assert ca_bundle({"SSL_CERT_FILE": str(bundle)}) == str(bundle)
    assert ca_bundle({"SSL_CERT_FILE": str(tmp_path / "nosuch")}) != str(tmp_path / "nosuch")
