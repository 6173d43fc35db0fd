"""The variables that a step sees: declared arguments, the image's environment, platforms, proxies.

Dockerfile reference, "ARG", "Predefined ARGs", "Automatic platform ARGs in the global scope".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from wherry.model.image import ExecConfig, Platform

PROXY_ARGS = frozenset(
    form
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for form in (name, name.upper())
)
"""Arguments that every RUN step sees without a declaration; never recorded unless declared."""

EPOCH_ARG = "SOURCE_DATE_EPOCH"
_PREDEFINED = PROXY_ARGS | {EPOCH_ARG}
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildArgs(msgspec.Struct, frozen=True, kw_only=True):
    """What the request gives: ``--build-arg`` and the automatic arguments."""

    given: dict[str, str]
    automatic: dict[str, str]
    proxies: dict[str, str] = {}  # the engine's own

    def run_proxies(self) -> dict[str, str]:
        """The proxy variables of a RUN step, declared or not."""
        asked = {name: value for name, value in self.given.items() if name in PROXY_ARGS}
        return self.proxies | asked


Args = dict[str, str | None]
"""Arguments declared so far, by name; None if one has no value."""


def declare(
    args: Args, items: Iterable[tuple[str, str | None]], build: BuildArgs, outer: Args
) -> Args:
    """The arguments after an ARG whose defaults are expanded already.

    A value that was asked for wins over the default, the default over that of an ARG of the same
    name before the first FROM (``outer``).
    """
    result = dict(args)
    for name, default in items:
        inherited = outer.get(name, build.automatic.get(name))
        result[name] = build.given.get(name, inherited if default is None else default)
    return result


def global_variables(args: Args, build: BuildArgs) -> dict[str, str]:
    """What FROM, and ARG before it, can read."""
    return build.automatic | _set_only(args)


def stage_variables(args: Args, config: ExecConfig) -> dict[str, str]:
    """What the instructions of a stage can read: ENV wins over ARG."""
    return _set_only(args) | env_dict(config)


def run_arguments(args: Args, config: ExecConfig) -> dict[str, str]:
    """Declared arguments that a RUN step sees and that its history records, sorted by name."""
    env = env_dict(config)
    given = _set_only(args)
    return {name: given[name] for name in sorted(given) if name not in env}


def unused(build: BuildArgs, declared: Iterable[str]) -> tuple[str, ...]:
    """Names that were given and never declared."""
    return tuple(sorted(set(build.given) - set(declared) - _PREDEFINED - set(build.automatic)))


def env_dict(config: ExecConfig) -> dict[str, str]:
    result = {}
    for item in config.env or ():
        name, _, value = item.partition("=")
        result[name] = value
    return result


def platform_args(target: Platform, host: Platform, stage: str) -> dict[str, str]:
    """The automatic arguments of BuildKit's global scope; ``stage`` is the target's name."""
    result = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("TARGET", target), ("BUILD", host)):
        result[f"{prefix}PLATFORM"] = str(platform)
        result[f"{prefix}OS"] = platform.os
        result[f"{prefix}ARCH"] = platform.architecture
        result[f"{prefix}VARIANT"] = platform.variant
    return result


def _set_only(args: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in args.items() if value is not None}
