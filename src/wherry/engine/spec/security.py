"""Security options: seccomp, AppArmor, labels, hidden paths, no-new-privileges."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wherry.engine.spec.facts import HostFacts
from wherry.engine.spec.selinux import check_label
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import HostConfig
from wherry.model.docker_defaults import MASKED_PATHS, READONLY_PATHS
from wherry.model.runtime_spec import LinuxSeccomp
from wherry.runtime.seccomp.docker import load_profile
from wherry.runtime.seccomp.profile import default_profile

DEFAULT_APPARMOR = "wherry-default"
"""The profile of containers that name none (:mod:`wherry.engine.host.apparmor` loads it)."""
UNCONFINED = "unconfined"

_BUILTIN = ("", "builtin")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class SecurityOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``--security-opt``, read. ``seccomp`` is empty for the default profile, ``unconfined``, or
    a profile's JSON text."""

    seccomp: str = ""
    apparmor: str = ""
    no_new_privileges: bool = False
    unconfined_paths: bool = False
    writable_cgroups: bool | None = None
    """None: as the container's privileges have it."""
    labels: tuple[str, ...] = ()
    """What ``label=`` says of SELinux, which a kernel without it does not mind."""


def parse_options(texts: Iterable[str]) -> SecurityOptions:
    """Read all options; InvalidArgument for what is malformed or unknown.

    ``key=value``, or ``key:value`` as old clients write it.
    """
    options = SecurityOptions()
    for text in texts:
        if text == "no-new-privileges":
            text = "no-new-privileges=true"
        key, separator, value = text.partition("=" if "=" in text else ":")
        if not separator:
            raise InvalidArgument(f'invalid --security-opt 1: "{text}"')
        options = _with(options, key, value, text)
    return options


def _with(options: SecurityOptions, key: str, value: str, text: str) -> SecurityOptions:
    replace = msgspec.structs.replace
    if key == "seccomp":
        return replace(options, seccomp="" if value in _BUILTIN else value)
    if key == "apparmor":
        return replace(options, apparmor=value)
    if key == "no-new-privileges":
        return replace(options, no_new_privileges=_boolean(value, text))
    if key == "writable-cgroups":
        return replace(options, writable_cgroups=_boolean(value, text))
    if key == "systempaths" and value == UNCONFINED:
        return replace(options, unconfined_paths=True)
    if key == "label":
        check_label(value)
        return replace(options, labels=(*options.labels, value))
    raise InvalidArgument(f'invalid --security-opt 2: "{text}"')


def _boolean(value: str, text: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise InvalidArgument(f'invalid --security-opt 2: "{text}"')
    return _BOOLEANS[value.lower()]


def seccomp_filter(
    options: SecurityOptions, host: HostConfig, bounding: tuple[str, ...], facts: HostFacts
) -> LinuxSeccomp | None:
    """The filter for a container with the bounding set ``bounding``; None: none.

    A privileged container has none unless a profile is given. InvalidArgument for a broken one.
    """
    if options.seccomp == UNCONFINED:
        return None
    if not options.seccomp:
        return None if host.privileged else default_profile(bounding, facts.machine)
    return load_profile(options.seccomp.encode(), bounding, facts.kernel, facts.machine)


def apparmor_profile(
    options: SecurityOptions, host: HostConfig, facts: HostFacts, *, has_default: bool = True
) -> str:
    """The profile to enter; empty for none. NotSupported where the kernel has no AppArmor.

    A container has the default one, if there is one, unless it names another or is privileged.
    """
    if options.apparmor == UNCONFINED:
        return ""
    if not options.apparmor:
        confined = facts.apparmor and has_default and not host.privileged
        return DEFAULT_APPARMOR if confined else ""
    if not facts.apparmor:
        raise NotSupported(
            f"apparmor={options.apparmor} cannot be set: AppArmor is not enabled on this host"
        )
    return options.apparmor


def masked_paths(options: SecurityOptions, host: HostConfig) -> tuple[str, ...]:
    """Paths that nobody in the container can read."""
    return _paths(options, host, host.masked_paths, MASKED_PATHS)


def readonly_paths(options: SecurityOptions, host: HostConfig) -> tuple[str, ...]:
    """Paths that nobody in the container can write."""
    return _paths(options, host, host.readonly_paths, READONLY_PATHS)


def _paths(
    options: SecurityOptions,
    host: HostConfig,
    asked: tuple[str, ...] | None,
    default: tuple[str, ...],
) -> tuple[str, ...]:
    if host.privileged or options.unconfined_paths:
        return ()
    return default if asked is None else asked
