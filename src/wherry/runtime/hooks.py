"""Running the hooks of a container's life (config.md, section "POSIX-platform Hooks")."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Mapping

import msgspec

from wherry.errors import InternalError
from wherry.model.runtime_spec import Hook, State
from wherry.runtime.ops.base import Op, Setup


def run_hooks(
    hooks: Iterable[Hook], state: State, kind: str = "", env: Mapping[str, str] | None = None
) -> None:
    """Run programs one after the other with the state on standard input; InternalError if one
    fails or exceeds its time.

    ``kind`` is what the specification calls them. ``env`` is for those that name none.
    """
    data = msgspec.json.encode(state)
    for number, hook in enumerate(hooks):
        try:
            _run(hook, data, env or {})
        except InternalError as error:
            if not kind:
                raise
            raise InternalError(f"error running {kind} hook #{number}: {error}") from None


def _run(hook: Hook, data: bytes, env: Mapping[str, str]) -> None:
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            hook.path,
            list(hook.args) or [hook.path],
            dict(entry.partition("=")[::2] for entry in hook.env) if hook.env else env,
            file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD],
        )
    except OSError as error:
        os.close(writing)
        raise InternalError(f"cannot run the hook {hook.path}: {error.strerror}") from None
    finally:
        os.close(reading)
    try:
        os.write(writing, data)  # a state is smaller than a pipe, so this never blocks
    except BrokenPipeError:
        pass  # the hook does not care for it
    finally:
        os.close(writing)
    _wait(hook, pid)


def _wait(hook: Hook, pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        limit = hook.timeout * 1000 if hook.timeout else None
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        in_time = bool(poll.poll(limit))
        if not in_time:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(pidfd)
    if not in_time:
        raise InternalError(f"the hook {hook.path} took longer than {hook.timeout} s")
    code = os.waitstatus_to_exitcode(status)
    if code > 0:
        raise InternalError(f"the hook {hook.path} failed with status {code}")
    if code < 0:
        name = (signal.strsignal(-code) or "").lower()
        raise InternalError(f"the hook {hook.path} was ended by signal {-code}: {name}")


class RunHooks(Op, frozen=True):
    """Run the hooks of the container's side (createContainer, startContainer)."""

    hooks: tuple[Hook, ...]
    state: State
    kind: str

    def describe(self) -> str:
        return "run the hooks"

    def execute(self, setup: Setup) -> None:
        state = msgspec.structs.replace(self.state, pid=setup.host_pid)
        # What runs in place of the program, so to speak, gets its environment (as with runc).
        env = dict(os.fsdecode(entry).partition("=")[::2] for entry in setup.env)
        run_hooks(self.hooks, state, self.kind, env)
