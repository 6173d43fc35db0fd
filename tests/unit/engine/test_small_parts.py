"""Waiters, events, filters, signals, names."""

from __future__ import annotations

import signal
from concurrent.futures import CancelledError

import pytest

from wherry.engine.containers.waiting import Waiters
from wherry.engine.events import Events
from wherry.engine.filters import as_bool, as_time, check_names, labels_match
from wherry.engine.ids import new_id, new_name
from wherry.engine.records import WaitResult
from wherry.engine.signals import parse_signal
from wherry.errors import InvalidArgument


def test_waiters_get_what_they_wait_for() -> None:
    waiters = Waiters()
    stopped, next_exit, removed = (
        waiters.add("not-running"),
        waiters.add("next-exit"),
        waiters.add("removed"),
    )
    waiters.exited(WaitResult(exit_code=1))
    assert next_exit.result(0).exit_code == 1
    assert stopped.result(0).exit_code == 1
    assert not removed.done()
    waiters.removed(WaitResult(exit_code=2))
    assert removed.result(0).exit_code == 2


def test_a_waiter_that_gave_up_is_left_alone() -> None:
    waiters = Waiters()
    future = waiters.add("next-exit")
    assert future.cancel()
    waiters.exited(WaitResult(exit_code=0))
    with pytest.raises(CancelledError):
        future.result(0)


def test_events_reach_subscribers_in_order_until_they_leave() -> None:
    events = Events()
    seen: list[str] = []
    leave = events.subscribe(lambda event: seen.append(event.action))
    events.emit("image", "pull", "a", {})
    events.emit("image", "tag", "a", {})
    leave()
    events.emit("image", "delete", "a", {})
    assert seen == ["pull", "tag"]
    assert [e.action for e in events.past(0, 2**63)] == ["pull", "tag", "delete"]


def test_labels_match_by_key_or_by_value() -> None:
    labels = {"a": "1", "b": ""}
    assert labels_match(("a", "a=1", "b="), labels)
    assert not labels_match(("a=2",), labels)
    assert not labels_match(("c",), labels)
    assert not labels_match(("c",), None)


def test_filters_that_do_not_exist_or_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'nope'"):
        check_names({"nope": ("1",)}, ("label",))
    with pytest.raises(InvalidArgument):
        as_bool("dangling", ("maybe",))


def test_times_in_all_forms() -> None:
    assert as_time("1.5", 0) == 1_500_000_000
    assert as_time("1700000000", 0) == 1_700_000_000 * 10**9
    assert as_time("1h30m", 10**13) == 10**13 - 5400 * 10**9
    assert as_time("1970-01-01T00:00:01Z", 0) == 10**9
    with pytest.raises(InvalidArgument):
        as_time("yesterday", 0)


def test_signals_by_name_and_number() -> None:
    assert parse_signal("") == signal.SIGTERM
    for text in ("SIGKILL", "kill", "9"):
        assert parse_signal(text) == 9
    assert parse_signal("RTMIN+3") == signal.SIGRTMIN + 3
    assert parse_signal("SIGRTMAX-1") == signal.SIGRTMAX - 1
    for text in ("SIGNOPE", "0", "65", "SIG_IGN", "-9"):
        with pytest.raises(InvalidArgument):
            parse_signal(text)


def test_names_avoid_those_that_are_taken() -> None:
    taken: set[str] = set()
    for _ in range(200):
        name = new_name(taken.__contains__)
        assert name not in taken
        taken.add(name)
    assert len(new_id()) == 64
    assert not new_id()[:12].isdigit()
