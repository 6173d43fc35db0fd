"""The AppArmor profile that containers run under where the kernel has AppArmor.

It is loaded when it is first needed, by ``apparmor_parser``, and stays in the kernel until the
machine is rebooted: all engines of a machine share it. Tools that unload profiles without a file in
``/etc/apparmor.d`` take it away, so that it is looked for before every start.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading

from wherry.engine.spec.facts import HostFacts
from wherry.engine.spec.security import DEFAULT_APPARMOR, UNCONFINED

NOT_LOADED = (
    "AppArmor is enabled, but the default profile of containers cannot be loaded: they run "
    "unconfined (is apparmor_parser installed?)"
)

_LOADED = "/sys/kernel/security/apparmor/profiles"
_OWN_LABEL = "/proc/self/attr/apparmor/current"
_PARSERS = ("/usr/sbin/apparmor_parser", "/sbin/apparmor_parser", "/usr/bin/apparmor_parser")
_PATIENCE_S = 60
_LOG = logging.getLogger(__name__)
_loading = threading.Lock()

# What confines a container beside its namespaces, capabilities and filter (apparmor.d(5)): even
# with more capabilities than usual it does not mount, does not change settings of the whole
# machine, and looks into processes and signals them within the profile only. A deny rule wins over
# every other, so that the names that stay writable below /proc/sys/kernel and /sys/fs are spelled
# out by the letters that the others begin with: shared memory, messages and semaphores belong to
# the container's IPC namespace, its control groups to itself.
_PROFILE = """\
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  umount,
  deny mount,

  signal (receive) peer={engine},
  signal (send, receive) peer={name},
  ptrace (trace, read, tracedby, readby) peer={name},

  deny /proc/* w,
  deny /proc/[^0-9st]*/** wkl,
  deny /proc/{{scsi,tty}}/** wkl,
  deny /proc/{{kcore,sysrq-trigger}} rwkl,
  deny /proc/sys/{{[^k],k[^e]}}** wkl,
  deny /proc/sys/kernel/{{[^ms],m[^s],s[^eh],se[^m],sh[^m]}}** wkl,

  deny /sys/{{[^f],f[^s]}}** wkl,
  deny /sys/fs/{{[^c],c[^g]}}** wkl,
  deny /sys/devices/virtual/powercap/** rwkl,
  deny /sys/firmware/** rwkl,
  deny /sys/kernel/security/** rwkl,
}}
"""


def has_default(facts: HostFacts) -> bool:
    """Whether the default profile is in the kernel, after having tried to get it there."""
    if not facts.apparmor:
        return False
    with _loading:
        return _is_loaded() or _load()


def warnings(facts: HostFacts) -> tuple[str, ...]:
    """What the administrator should know."""
    return (NOT_LOADED,) if facts.apparmor and not has_default(facts) else ()


def shown(profile: str, facts: HostFacts) -> str:
    """A process's profile as clients know it; empty where there is no AppArmor."""
    return (profile or UNCONFINED) if facts.apparmor else ""


def _is_loaded() -> bool:
    try:
        with open(_LOADED, encoding="utf-8", errors="replace") as file:
            return any(line.startswith(f"{DEFAULT_APPARMOR} (") for line in file)
    except OSError:
        return False


def _load() -> bool:
    parser = next((path for path in _PARSERS if os.access(path, os.X_OK)), None)
    if parser is None:
        return False
    text = _PROFILE.format(name=DEFAULT_APPARMOR, engine=_own_profile())
    try:
        subprocess.run(
            [parser, "--replace", "--skip-cache"],
            input=text.encode(),
            capture_output=True,
            check=True,
            timeout=_PATIENCE_S,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[:500]
        _LOG.warning("cannot load the AppArmor profile %s: %s", DEFAULT_APPARMOR, said)
        return False
    except (OSError, subprocess.TimeoutExpired) as error:
        _LOG.warning("cannot load the AppArmor profile %s: %s", DEFAULT_APPARMOR, error)
        return False
    return True


def _own_profile() -> str:
    """The engine's own, which stops and kills containers: ``unconfined``, or a name that
    apparmor.d(5) can have in quotes."""
    try:
        with open(_OWN_LABEL, encoding="utf-8", errors="replace") as file:
            label = file.read().rstrip("\0\n").rpartition(" (")
    except OSError:
        return UNCONFINED
    name = label[0] or label[2]
    quotable = name != UNCONFINED and name.isprintable() and '"' not in name
    return f'"{name}"' if quotable else UNCONFINED
