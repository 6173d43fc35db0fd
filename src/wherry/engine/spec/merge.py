"""A container's configuration over its image's: what the user left out, the image says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from wherry.model.container import ContainerConfig, Strings
from wherry.model.image import ExecConfig, HealthConfig

_T = TypeVar("_T")


def merge_config(config: ContainerConfig, image: ExecConfig) -> ContainerConfig:
    """The configuration a container of ``image`` gets when ``config`` was asked for.

    An entrypoint that was given resets the image's command (BEHAVIOURS of Docker: a new
    ENTRYPOINT has no arguments of the old one); ``[""]`` takes the image's entrypoint away.
    """
    entrypoint, cmd = _command(config, image)
    return msgspec.structs.replace(
        config,
        entrypoint=entrypoint,
        cmd=cmd,
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        env=_merge_env(config.env, image.env),
        labels=_merge(config.labels, image.labels),
        exposed_ports=_merge(config.exposed_ports, image.exposed_ports),
        volumes=_merge(config.volumes, image.volumes),
        stop_signal=config.stop_signal or image.stop_signal,
        stop_timeout=image.stop_timeout if config.stop_timeout is None else config.stop_timeout,
        shell=config.shell or image.shell,
        healthcheck=_merge_health(config.healthcheck, image.healthcheck),
        on_build=config.on_build or image.on_build,
    )


def _command(config: ContainerConfig, image: ExecConfig) -> tuple[Strings, Strings]:
    entrypoint, cmd = config.entrypoint, config.cmd
    if not entrypoint:
        if not cmd:
            cmd = image.cmd
        if entrypoint is None:
            entrypoint = image.entrypoint
    return (None if entrypoint == ("",) else entrypoint), cmd


def _merge_env(asked: Strings, image: Strings) -> Strings:
    """The variables asked for, then the image's others, as ``docker inspect`` lists them."""
    if not asked:
        return image
    names = {name_of(entry) for entry in asked}
    return (*asked, *(entry for entry in image or () if name_of(entry) not in names))


def name_of(entry: str) -> str:
    """The name in ``NAME=VALUE``, or in ``NAME`` alone, which takes a variable away."""
    return entry.partition("=")[0]


def replace_env(base: Iterable[str], changes: Iterable[str]) -> tuple[str, ...]:
    """``base`` with variables changed in place, added at the end, or (``NAME`` alone) removed."""
    env = {name_of(entry): entry for entry in base}
    for entry in changes:
        name, equals, _ = entry.partition("=")
        if equals:
            env[name] = entry
        else:
            env.pop(name, None)
    return tuple(env.values())


def _merge(asked: dict[str, _T] | None, image: dict[str, _T] | None) -> dict[str, _T] | None:
    if asked is None and image is None:
        return None
    return {**(image or {}), **(asked or {})}


def _merge_health(asked: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    if asked is None or image is None:
        return asked or image
    return HealthConfig(
        test=asked.test or image.test,
        interval=asked.interval or image.interval,
        timeout=asked.timeout or image.timeout,
        retries=asked.retries or image.retries,
        start_period=asked.start_period or image.start_period,
        start_interval=asked.start_interval or image.start_interval,
    )
