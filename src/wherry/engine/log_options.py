"""The options of log drivers: which there are, and the attributes that some of them ask for."""

from __future__ import annotations

import re

from wherry.engine.records import Container
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig

LOG_DRIVERS = ("local", "json-file", "none")
DEFAULT_LOG_DRIVER = "local"
_OPTIONS = {
    "local": ("max-size", "max-file", "compress"),
    "json-file": (
        "max-size",
        "max-file",
        "compress",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
    ),
    "none": (),
}


def check_log_config(host: HostConfig) -> None:
    """Refuse log drivers and options that do not exist here, by name."""
    driver = host.log_config.type or DEFAULT_LOG_DRIVER
    if driver not in LOG_DRIVERS:
        raise InvalidArgument(f"logger: no log driver named '{driver}' is registered")
    for option, value in (host.log_config.config or {}).items():
        if option not in _OPTIONS[driver]:
            raise InvalidArgument(f"unknown log opt '{option}' for {driver} log driver")
        if option.endswith("-regex"):
            _compile(option, value)


def log_attributes(record: Container) -> dict[str, str]:
    """Labels and variables of the container that its log's options name, by name."""
    options = record.host.log_config.config or {}
    env = dict(item.partition("=")[::2] for item in record.config.env or ())
    labels = record.config.labels or {}
    found = _chosen(labels, options, "labels") | _chosen(env, options, "env")
    return dict(sorted(found.items()))


def _chosen(have: dict[str, str], options: dict[str, str], option: str) -> dict[str, str]:
    names = set(filter(None, options.get(option, "").split(",")))
    text = options.get(f"{option}-regex", "")
    pattern = _compile(option, text) if text else None
    return {
        name: value
        for name, value in have.items()
        if name in names or (pattern is not None and pattern.search(name))
    }


def _compile(option: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"log opt '{option}' is no regular expression: {error}") from None
