from __future__ import annotations

from datetime import datetime

import pytest

from wherry.cli.ps import ports_text
from wherry.cli.text import (
    binary_size,
    ellipsis,
    human_duration,
    human_size,
    parse_stamp,
    quoted,
    short_id,
    table,
    visible,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1982354, "1.98MB"), (74_800_000, "74.8MB")],
)
def test_sizes(size: int, text: str) -> None:
    assert human_size(size) == text


def test_binary_sizes() -> None:
    assert binary_size(8 * 1024**3) == "8GiB"
    assert binary_size(7_999_588) == "7.629MiB"


# As github.com/docker/go-units, duration_test.go.
@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (179, "2 minutes"),
        (59 * 60, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600 + 1799, "2 hours"),
        (2 * 3600 + 1800, "3 hours"),
        (47 * 3600, "47 hours"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    "text",
    ["2026-11-21T09:06:38Z", "2024-02-29T23:59:59+05:30", "1999-12-31T00:00:00.25-08:00"],
)
def test_stamps(text: str) -> None:
    assert parse_stamp(text) == datetime.fromisoformat(text).timestamp()


def test_stamps_that_are_none() -> None:
    assert parse_stamp("0001-01-01T00:00:00Z") == parse_stamp("yesterday") == 0


def test_tables() -> None:
    rows = [("ID", "LONG TITLE", "X"), ("a", "b", "a long end")]
    assert table(rows) == ["ID        LONG TITLE   X", "a         b            a long end"]
    assert table([]) == []


def test_short_texts() -> None:
    assert short_id("sha256:" + "ab" * 32) == short_id("ab" * 32) == "abababababab"
    assert (ellipsis("abcdef", 4), ellipsis("abcd", 4)) == ("abc…", "abcd")


def test_what_an_image_says_does_not_command_the_terminal() -> None:
    command = 'a\x1b[31m\n"\\'
    assert quoted(command) == r'"a\x1b[31m\n\"\\"'
    assert table([["T", "U"], [command, "\x9b2J\u202e"]])[1] == r'a\x1b[31m\n"\   \x9b2J\u202e'
    assert visible("schön ✓") == "schön ✓"


def _port(private: int, public: int = 0, address: str = "", kind: str = "tcp") -> dict[str, object]:
    port: dict[str, object] = {"PrivatePort": private, "Type": kind}
    return port | ({"PublicPort": public, "IP": address} if public else {})


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([_port(80)], "80/tcp"),
        ([_port(80, 8080, "0.0.0.0")], "0.0.0.0:8080->80/tcp"),
        ([_port(80, 8080, "::")], "[::]:8080->80/tcp"),
        ([_port(81), _port(80)], "80-81/tcp"),
        ([_port(80), _port(80, kind="udp")], "80/tcp, 80/udp"),
        ([_port(9, 9, "1.1.1.1"), _port(10, 10, "1.1.1.1")], "1.1.1.1:9-10->9-10/tcp"),
        (
            [_port(80, 1, "0.0.0.0"), _port(81, 9, "0.0.0.0")],
            "0.0.0.0:1->80/tcp, 0.0.0.0:9->81/tcp",
        ),
    ],
)
def test_ports(ports: list[dict[str, object]], text: str) -> None:
    assert ports_text(ports) == text
