"""What an init that is held ready, and its starter, go through before anybody waits for them.

They share all their memory with the launcher until they write to it, and an interpreter writes to
all that it uses. A page that it has written to before the request comes need not be copied then.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from wherry.errors import WherryError
from wherry.runtime.api import StartRequest
from wherry.runtime.host import Host
from wherry.runtime.launch.premade import Premade, premake, with_trees
from wherry.runtime.launch.rehearsal import rehearse_start
from wherry.runtime.messages import Start, close_all, receive, send, to_launcher
from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.devices import MakeLink
from wherry.runtime.ops.kernel import JoinKeyring, SetAffinity, SetNames
from wherry.runtime.ops.mounts import MaskPath, MountFilesystem, ReadOnlyPath
from wherry.runtime.ops.program import BecomeUser, ChangeDirectory, FindHome, FindProgram
from wherry.runtime.plan.mount_options import Options
from wherry.runtime.plan.process import ALL_CPUS
from wherry.sys import caps

_NOWHERE = "/proc/wherry/nowhere"
_ANY = (1 << 64) - 1


def rehearse_request() -> None:
    """Send oneself a request, with a descriptor."""
    sample = Start(StartRequest(id="sample", bundle="/sample", state_dir="/sample"))
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        send(one, sample, (other.fileno(),))
        packet = receive(other, to_launcher)
    close_all(packet[1] if packet is not None else ())


def rehearse_init(host: Host) -> tuple[Premade, ...]:
    """Take a request, plan a container, and carry out what changes nothing, or only what a plan
    changes again. Returns mounts for the container that is to come."""
    rehearse_request()
    _, plan = rehearse_start(host)
    premade = premake(plan.ops, inside=True)
    with_trees(plan.ops, premade)
    setup = Setup(None)
    setup.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for op in _harmless():
        with suppress(OSError, WherryError):
            op.execute(setup)
    os.close(setup.root_fd)
    os.close(setup.proc_fd)
    return premade


def rehearse_clone(host: Host) -> tuple[Premade, ...]:
    """Plan a container that this process will clone. Returns mounts for it."""
    _, plan = rehearse_start(host)
    premade = premake(plan.ops, inside=False)
    with_trees(plan.ops, premade)
    return premade


def _harmless() -> tuple[Op, ...]:
    """Operations that ask for nothing, for what there already is, or for what cannot be."""
    effective, permitted, inheritable = caps.capget()
    return (
        JoinKeyring("_ses"),
        SetNames("", ""),
        MountFilesystem("wherry", "wherry", "/", Options()),
        MakeLink("/", ""),
        MaskPath(_NOWHERE),
        ReadOnlyPath(_NOWHERE),
        FindHome(("PATH=/usr/bin:/bin",), 0),
        SetAffinity(ALL_CPUS),
        BecomeUser(
            uid=os.getuid(),
            gid=os.getgid(),
            groups=tuple(os.getgroups()),
            umask=0,
            bounding=_ANY,
            effective=effective,
            permitted=permitted,
            inheritable=inheritable,
            ambient=0,
            keep_admin=False,
        ),
        FindProgram("true"),
        ChangeDirectory("/", again=False),
    )
