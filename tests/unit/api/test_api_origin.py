"""Whose requests are served on TCP: clients name no origin, or the engine itself."""

from __future__ import annotations

import pytest

from wherry.api.app import is_welcome


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "example.com:2375"},
        {"host": "127.0.0.1:2375", "origin": "http://127.0.0.1:2375"},
        {"host": "[::1]:2376", "origin": "https://[::1]:2376"},
    ],
)
def test_clients(headers: dict[str, str]) -> None:
    assert is_welcome(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:2375", "origin": "http://evil.example"},
        {"host": "127.0.0.1:2375", "origin": "http://127.0.0.1:80"},
        {"host": "127.0.0.1:2375", "origin": "null"},
        {"host": "evil.example:2375", "origin": "http://evil.example:2375"},  # DNS rebinding
        {"origin": "http://"},
    ],
)
def test_web_pages(headers: dict[str, str]) -> None:
    assert not is_welcome(headers)
