"""The options of log drivers: which there are, which containers get, what they mean.

Names, defaults and words are Docker's (docs.docker.com, "Configure logging drivers").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wherry.engine.logs.tag import check_tag, tag_of
from wherry.engine.records import Container
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig, LogConfig
from wherry.runtime.api import LogSettings, LogTarget
from wherry.runtime.logs.drivers import SERVICES, check_options
from wherry.runtime.logs.drivers.values import (
    ATTRIBUTES,
    boolean,
    check_names,
    number,
    pattern,
    size,
)

LOG_DRIVERS = tuple(sorted((*SERVICES, "json-file", "local")))
DEFAULT_LOG_DRIVER = "local"
_ROTATION = ("max-size", "max-file", "compress")
_FILES = {
    "local": _ROTATION,
    "json-file": (*_ROTATION, *ATTRIBUTES),
}
_EVERYWHERE = ("mode", "max-buffer-size")
_CACHE = ("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress")
_NON_BLOCKING = "non-blocking"
_SIZE = 20 * 1024 * 1024
_COUNT = 5
"""A log is bounded unless its owner says ``max-size=-1``: full disks are dockerd's oldest wound."""
_BUFFER = 1024 * 1024


def is_known_driver(name: str) -> bool:
    return name == "none" or name in LOG_DRIVERS


def with_defaults(host: HostConfig, driver: str, options: Mapping[str, str]) -> HostConfig:
    """The log that a container gets whose creator left it, or some of it, to the engine.

    ``driver`` empty means that the engine was told of none; its options are then for files.
    """
    log = host.log_config
    chosen = log.type or driver or DEFAULT_LOG_DRIVER
    config = log.config
    if chosen == driver or (not driver and chosen in _FILES):
        config = {**options, **(log.config or {})} or log.config
    return msgspec.structs.replace(host, log_config=LogConfig(type=chosen, config=config))


def check_log_config(log: LogConfig) -> None:
    """Refuse log drivers and options that do not exist here, by name."""
    driver, options = log.type or DEFAULT_LOG_DRIVER, dict(log.config or {})
    if not is_known_driver(driver):
        raise InvalidArgument(f"logger: no log driver named '{driver}' is registered")
    if driver == "none":
        check_names(driver, options, ())
        return
    _check_mode(options)
    if driver in SERVICES:
        _check_rotation(options, "cache-")
        boolean(options, "cache-disabled")
    general = (*_EVERYWHERE, *(_CACHE if driver in SERVICES else ()))
    own = {name: value for name, value in options.items() if name not in general}
    if driver in SERVICES:
        check_options(driver, own)
    else:
        check_names(driver, own, _FILES[driver])
        _check_rotation(own, "")
    pattern(options, "labels-regex")
    pattern(options, "env-regex")
    check_tag(options.get("tag", ""))


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", _NON_BLOCKING):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" not in options:
        return
    if mode != _NON_BLOCKING:
        raise InvalidArgument(
            f"logger: max-buffer-size option is only supported with 'mode={_NON_BLOCKING}'"
        )
    if not size(options, "max-buffer-size", 0):
        raise InvalidArgument("max-buffer-size must be greater than 0")


def _check_rotation(options: Mapping[str, str], prefix: str) -> None:
    size(options, f"{prefix}max-size", 0)
    count = number(options, f"{prefix}max-file", _COUNT, 1)
    if boolean(options, f"{prefix}compress") and count < 2:
        raise InvalidArgument("compress cannot be true when max-file is less than 2")


# --- what a monitor is told ---------------------------------------------------------------------


def log_settings(record: Container) -> LogSettings:
    """Where the monitor writes, and to whom it sends."""
    options = record.host.log_config.config or {}
    driver = record.log_driver
    buffer = 0
    if options.get("mode") == _NON_BLOCKING:
        buffer = size(options, "max-buffer-size", _BUFFER)
    if driver == "none":
        return LogSettings(driver=driver)
    if driver not in SERVICES:
        attributes = _json_attributes(record) if driver == "json-file" else {}
        return LogSettings(
            driver=driver,
            buffer=buffer,
            attributes=attributes,
            **_file(record.log_path, options, "", compress=driver == "local"),
        )
    return LogSettings(
        driver="none" if boolean(options, "cache-disabled") else "local",
        buffer=buffer,
        remote=_target(record),
        **_file(record.log_path, options, "cache-", compress=True),
    )


def _file(path: str, options: Mapping[str, str], prefix: str, *, compress: bool) -> dict[str, Any]:
    return {
        "path": path,
        "max_size": size(options, f"{prefix}max-size", _SIZE),
        "max_files": number(options, f"{prefix}max-file", _COUNT, 1),
        "compress": boolean(options, f"{prefix}compress", compress),
    }


def _json_attributes(record: Container) -> dict[str, str]:
    """Attributes in the file; the tag only if one is asked for, as with Docker."""
    found = log_attributes(record)
    if (record.host.log_config.config or {}).get("tag"):
        found["tag"] = tag_of(record)
    return found


def _target(record: Container) -> LogTarget:
    return LogTarget(
        driver=record.log_driver,
        options=record.host.log_config.config or {},
        container_id=record.id,
        container_name=record.name,
        image_id=record.image_id,
        image_name=record.image_name,
        command=" ".join((record.path, *record.args)),
        created_ns=record.created_ns,
        tag=tag_of(record),
        attributes=log_attributes(record),
    )


def log_attributes(record: Container) -> dict[str, str]:
    """Labels and variables of the container that its log's options name, by name."""
    options = record.host.log_config.config or {}
    env = dict(item.partition("=")[::2] for item in record.config.env or ())
    labels = record.config.labels or {}
    found = _chosen(labels, options, "labels") | _chosen(env, options, "env")
    return dict(sorted(found.items()))


def _chosen(have: Mapping[str, str], options: Mapping[str, str], option: str) -> dict[str, str]:
    names = set(filter(None, options.get(option, "").split(",")))
    wanted = pattern(options, f"{option}-regex")
    return {
        name: value
        for name, value in have.items()
        if name in names or (wanted is not None and wanted.search(name))
    }
