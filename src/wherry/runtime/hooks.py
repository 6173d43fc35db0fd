"""Running the hooks of a container's life (config.md, section "POSIX-platform Hooks")."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping

import msgspec

from wherry.errors import InternalError
from wherry.model.runtime_spec import Hook, State
from wherry.runtime.ops.base import Op, Setup

_QUOTED = 1024  # bytes of what a hook that fails has written


def run_hooks(
    hooks: Iterable[Hook], state: State, kind: str = "", env: Mapping[str, str] | None = None
) -> None:
    """Run programs one after the other with the state on standard input; InternalError if one
    fails or exceeds its time.

    ``kind`` is what the specification calls them. ``env`` is for those that name none; by default
    it is the caller's own, as with runc.
    """
    data = msgspec.json.encode(state)
    for number, hook in enumerate(hooks):
        _run_one(number, hook, data, kind, os.environ if env is None else env)


def try_hooks(hooks: Iterable[Hook], state: State, kind: str) -> list[str]:
    """Run programs whose failures change nothing; returns what is to be said of them (runtime.md,
    "Lifecycle" 13)."""
    data = msgspec.json.encode(state)
    told = []
    for number, hook in enumerate(hooks):
        try:
            _run_one(number, hook, data, kind, os.environ)
        except InternalError as error:
            told.append(str(error))
    return told


def _run_one(number: int, hook: Hook, data: bytes, kind: str, env: Mapping[str, str]) -> None:
    try:
        _run(hook, data, env)
    except InternalError as error:
        if not kind:
            raise
        raise InternalError(f"error running {kind} hook #{number}: {error}") from None


def _run(hook: Hook, data: bytes, env: Mapping[str, str]) -> None:
    reading, writing = os.pipe()
    output = _make_output()
    streams = ((reading, 0), (output, 1), (output, 2))
    try:
        pid = os.posix_spawn(
            hook.path,
            list(hook.args) or [hook.path],
            dict(entry.partition("=")[::2] for entry in hook.env) if hook.env else env,
            file_actions=[(os.POSIX_SPAWN_DUP2, *pair) for pair in streams],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD],
        )
    except OSError as error:
        os.close(writing)
        os.close(output)
        raise InternalError(f"cannot run the hook {hook.path}: {error.strerror}") from None
    finally:
        os.close(reading)
    try:
        _wait(hook, pid, writing, data)
    except InternalError as error:
        raise InternalError(f"{error}{_last_words(output)}") from None
    finally:
        os.close(output)


def _make_output() -> int:
    """Where a hook writes, so that it does not into the container's output, but can be quoted."""
    try:
        return os.memfd_create("hook")
    except OSError:  # a start hook is under the container's filter
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _last_words(output: int) -> str:
    size = os.fstat(output).st_size
    text = os.pread(output, _QUOTED, max(0, size - _QUOTED)) if size else b""
    words = " ".join(text.decode(errors="replace").split())
    return f": {words}" if words else ""


def _wait(hook: Hook, pid: int, writing: int, data: bytes) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        in_time = _ends(pidfd, writing, data, hook.timeout or math.inf)
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


def _ends(pidfd: int, writing: int, data: bytes, timeout: float) -> bool:
    """Whether a hook ends in so many seconds. It is passed the state meanwhile, which may be more
    than a pipe holds, and more than it cares for."""
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(writing, select.POLLOUT)
    while data:
        ready = _ready(poll, deadline)
        if pidfd in ready or not ready:
            break
        try:
            data = data[os.write(writing, data[: select.PIPE_BUF]) :]  # so much never blocks
        except BrokenPipeError:
            break
    poll.unregister(writing)
    os.close(writing)
    return pidfd in _ready(poll, deadline)


def _ready(poll: select.poll, deadline: float) -> dict[int, int]:
    left = max(0.0, deadline - time.monotonic())
    return dict(poll.poll(None if left == math.inf else left * 1000))


class RunHooks(Op, frozen=True):
    """Run the hooks of the container's side (createContainer, startContainer)."""

    hooks: tuple[Hook, ...]
    state: State
    kind: str

    def describe(self) -> str:
        return "run the hooks"

    def execute(self, setup: Setup) -> None:
        state = msgspec.structs.replace(self.state, pid=setup.host_pid)
        run_hooks(self.hooks, state, self.kind, self._environment(setup))

    def _environment(self, setup: Setup) -> dict[str, str] | None:
        """What runs in place of the program, so to speak, gets its environment (as with runc)."""
        if self.kind != "startContainer":
            return None
        return dict(os.fsdecode(entry).partition("=")[::2] for entry in setup.env)
