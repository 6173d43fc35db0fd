"""Restart policies (Docker's ``--restart``): decide purely, wait on one thread.

The delay starts at 100 ms, doubles with each restart, is capped at a minute, and begins anew
after a run of ten seconds.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from wherry.engine.records import Container
from wherry.errors import InvalidArgument
from wherry.model.container import RestartPolicy

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 60.0
_STEADY_NS = 10 * 10**9


def check_policy(policy: RestartPolicy, auto_remove: bool) -> None:
    """InvalidArgument, in Docker's words, for a policy that makes no sense."""
    if policy.name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(f"invalid restart policy: unknown policy '{policy.name}'")
    if policy.name == "on-failure" and policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    # Docker before 25 kept a count without a policy, so that containers and clients have it.
    if policy.maximum_retry_count and policy.name not in ("", "on-failure"):
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def should_restart(record: Container, exit_code: int) -> bool:
    """Whether a container that just ended, not by its user's wish, is started again."""
    policy = record.host.restart_policy
    if record.stopped_by_user:
        return False
    if policy.name in ("always", "unless-stopped"):
        return True
    if policy.name != "on-failure" or exit_code == 0:
        return False
    limit = policy.maximum_retry_count
    return limit == 0 or record.restart_count < limit


def next_delay(previous: float, ran_ns: int) -> float:
    """Seconds to wait before the next start; ``previous`` is 0 for the first one."""
    if previous <= 0 or ran_ns >= _STEADY_NS:
        return _FIRST_DELAY
    return min(previous * 2, _LONGEST_DELAY)


def starts_with_engine(record: Container) -> bool:
    """Whether a container that is not running is started when the engine starts."""
    policy = record.host.restart_policy.name
    if policy == "always":
        return record.state.started_ns > 0
    return policy == "unless-stopped" and not record.stopped_by_user and record.state.started_ns > 0


class Timers:
    """Calls functions at their time, on one thread that starts with the first timer."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def after(self, seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        """Call ``action`` later; returns what cancels it. It must not block for long."""
        cancelled = False

        def run() -> None:
            if not cancelled:
                action()

        def cancel() -> None:
            nonlocal cancelled
            cancelled = True

        with self._condition:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._order), run))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
                self._thread.start()
            self._condition.notify()
        return cancel

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._closed and (wait := self._until_next()) != 0:
                    self._condition.wait(wait)
                if self._closed:
                    return
                _, _, action = heapq.heappop(self._heap)
            action()

    def _until_next(self) -> float | None:
        """Seconds until the first timer is due, 0 if it is, None if there is none."""
        if not self._heap:
            return None
        return max(0.0, self._heap[0][0] - time.monotonic())

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
