"""Restart policies: decisions, delays, timers."""

from __future__ import annotations

import threading

import pytest

from wherry.engine.containers.restart import (
    Timers,
    check_policy,
    next_delay,
    should_restart,
    starts_with_engine,
)
from wherry.engine.records import Container, State
from wherry.errors import InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, RestartPolicy
from wherry.model.digest import digest_of


def container(
    policy: str = "",
    *,
    retries: int = 0,
    restarts: int = 0,
    stopped: bool = False,
    ran: bool = True,
) -> Container:
    return Container(
        id="a" * 64,
        name="n",
        created_ns=1,
        image_id=digest_of(b""),
        image_name="i",
        config=ContainerConfig(),
        host=HostConfig(restart_policy=RestartPolicy(name=policy, maximum_retry_count=retries)),
        networking={},
        path="true",
        args=(),
        restart_count=restarts,
        stopped_by_user=stopped,
        state=State(started_ns=1 if ran else 0),
    )


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("", 1, False),
        ("no", 1, False),
        ("always", 0, True),
        ("unless-stopped", 0, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
    ],
)
def test_what_is_started_again(policy: str, code: int, again: bool) -> None:
    assert should_restart(container(policy), code) is again


def test_a_stop_by_the_user_suspends_every_policy() -> None:
    for policy in ("always", "unless-stopped", "on-failure"):
        assert not should_restart(container(policy, stopped=True), 1)


def test_on_failure_counts_and_without_a_count_has_no_limit() -> None:
    assert should_restart(container("on-failure", retries=3, restarts=2), 1)
    assert not should_restart(container("on-failure", retries=3, restarts=3), 1)
    assert should_restart(container("on-failure", restarts=10_000), 1)


def test_the_delay_doubles_up_to_a_minute_and_begins_anew_after_a_steady_run() -> None:
    delays = [0.0]
    for _ in range(12):
        delays.append(next_delay(delays[-1], ran_ns=0))
    assert delays[1:5] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert next_delay(60.0, ran_ns=10 * 10**9) == 0.1


def test_with_the_engine_starts_what_the_user_did_not_stop() -> None:
    assert starts_with_engine(container("always", stopped=True))
    assert starts_with_engine(container("unless-stopped"))
    assert not starts_with_engine(container("unless-stopped", stopped=True))
    assert not starts_with_engine(container("on-failure"))
    assert not starts_with_engine(container("always", ran=False))


@pytest.mark.parametrize(
    "policy",
    [
        RestartPolicy(name="sometimes"),
        RestartPolicy(name="always", maximum_retry_count=3),
        RestartPolicy(name="on-failure", maximum_retry_count=-1),
    ],
)
def test_policies_that_make_no_sense_are_refused(policy: RestartPolicy) -> None:
    with pytest.raises(InvalidArgument):
        check_policy(policy, auto_remove=False)


def test_a_count_without_a_policy_is_taken_as_old_clients_send_it() -> None:
    check_policy(RestartPolicy(maximum_retry_count=3), auto_remove=True)


def test_auto_remove_and_a_policy_exclude_each_other() -> None:
    with pytest.raises(InvalidArgument, match="AutoRemove"):
        check_policy(RestartPolicy(name="always"), auto_remove=True)
    check_policy(RestartPolicy(name="no"), auto_remove=True)


def test_timers_fire_in_order_and_a_cancelled_one_does_not() -> None:
    timers = Timers()
    fired: list[str] = []
    gate, done = threading.Event(), threading.Event()
    timers.after(0, gate.wait)  # until all are there
    timers.after(0.03, lambda: (fired.append("late"), done.set()))
    timers.after(-20, lambda: fired.append("early"))
    timers.after(-10, lambda: fired.append("never"))()
    gate.set()
    assert done.wait(10)
    timers.close()
    assert fired == ["early", "late"]
