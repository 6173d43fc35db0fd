"""Handing the listener of a seccomp filter to its agent (config-linux.md, section "Seccomp", "The
Container Process State")."""

from __future__ import annotations

import os
import socket
import struct

import msgspec

from wherry.model.runtime_spec import State
from wherry.runtime.ops.base import Setup
from wherry.runtime.ops.program import LoadSeccomp
from wherry.sys.process import seccomp_set_filter

NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER, seccomp(2)


class ProcessState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the agent is told. ``fds`` names the descriptors that come with it, in order."""

    oci_version: str
    fds: tuple[str, ...] = ("seccompFd",)
    pid: int
    metadata: str
    state: State


class LoadNotifyingSeccomp(LoadSeccomp, frozen=True):
    """Load a filter whose SCMP_ACT_NOTIFY asks an agent. From then on this process's own calls may
    have to wait for the agent, so that it is told at once, by sendmsg(2)."""

    metadata: str
    state: State

    def execute(self, setup: Setup) -> None:
        connection = setup.prepared.listener
        if connection is None:
            return
        pid = setup.host_pid
        state = msgspec.structs.replace(self.state, pid=self.state.pid or pid)
        notice = ProcessState(
            oci_version=state.oci_version, pid=pid, metadata=self.metadata, state=state
        )
        data = msgspec.json.encode(notice)
        agent = socket.socket(fileno=connection)
        listener = seccomp_set_filter(self.program, self.flags | NEW_LISTENER)
        agent.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))])
        os.close(listener)
        agent.close()
