from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wherry.client.address import DEFAULT_HOST, host_from, parse_address
from wherry.errors import InvalidArgument, NotSupported, Unavailable


def test_wherry_host_wins_over_docker_host() -> None:
    assert host_from({"WHERRY_HOST": "unix:///a", "DOCKER_HOST": "unix:///b"}) == "unix:///a"
    assert host_from({"WHERRY_HOST": "", "DOCKER_HOST": "unix:///b"}) == "unix:///b"
    assert host_from({}) == DEFAULT_HOST


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("unix:///run/x.sock", "wherry"),
        ("/run/x.sock", "wherry"),
        ("tcp://1.2.3.4:99", "1.2.3.4:99"),
        ("tcp://engine", "engine:2375"),
        ("tcp://[::1]:80/", "[::1]:80"),
        ("tcp://:4000", "127.0.0.1:4000"),
    ],
)
def test_hosts(text: str, header: str) -> None:
    assert parse_address(text).header == header


@pytest.mark.parametrize("text", ["", "engine:80", "unix://relative", "tcp://a:b", "tcp://a:99999"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_address(text)


def test_ssh_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="ssh"):
        parse_address("ssh://user@host")


def test_nothing_listens(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is it running"):
        parse_address(f"unix://{tmp_path}/none").connect()


def test_tcp_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        parse_address(f"tcp://127.0.0.1:{port}").connect().close()
