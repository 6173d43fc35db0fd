"""Health checks: how states follow from results."""

from __future__ import annotations

from wherry.engine.containers.health import (
    next_health,
    next_interval,
    probe_command,
    timed_out,
    unframed,
)
from wherry.engine.records import Container, Health, HealthResult
from wherry.model.container import ContainerConfig, HostConfig
from wherry.model.digest import digest_of
from wherry.model.image import HealthConfig

SECOND = 10**9
CHECK = HealthConfig(test=("CMD", "true"), retries=2, start_period=10 * SECOND)


def result(code: int, at: int) -> HealthResult:
    return HealthResult(start_ns=at, end_ns=at, exit_code=code, output="")


def test_failures_in_the_start_period_do_not_count_until_a_success() -> None:
    health = next_health(Health(), result(1, 1), CHECK, started_ns=0)
    assert (health.status, health.failing_streak) == ("starting", 0)
    health = next_health(health, result(0, 2), CHECK, started_ns=0)
    assert health.status == "healthy"
    health = next_health(health, result(1, 3), CHECK, started_ns=0)
    assert (health.status, health.failing_streak) == ("healthy", 1)


def test_only_failures_in_a_row_make_unhealthy_and_one_success_mends() -> None:
    late = 20 * SECOND
    health = Health(status="healthy")
    for code, status in ((1, "healthy"), (0, "healthy"), (1, "healthy"), (1, "unhealthy")):
        health = next_health(health, result(code, late), CHECK, started_ns=0)
        assert health.status == status
    assert next_health(health, result(0, late), CHECK, started_ns=0).status == "healthy"


def test_five_results_are_kept() -> None:
    health = Health()
    for number in range(7):
        health = next_health(health, result(0, number), CHECK, started_ns=0)
    assert [r.end_ns for r in health.log] == [2, 3, 4, 5, 6]


def test_the_start_interval_holds_while_starting_only() -> None:
    check = HealthConfig(interval=30 * SECOND, start_period=10 * SECOND, start_interval=SECOND)
    assert next_interval(Health(), check, age_ns=0) == SECOND
    assert next_interval(Health(), check, age_ns=11 * SECOND) == 30 * SECOND
    assert next_interval(Health(status="healthy"), check, age_ns=0) == 30 * SECOND


def test_commands_of_all_forms() -> None:
    def command(*test: str) -> tuple[str, ...]:
        return probe_command(
            Container(
                id="a" * 64,
                name="n",
                created_ns=1,
                image_id=digest_of(b""),
                image_name="i",
                config=ContainerConfig(healthcheck=HealthConfig(test=test)),
                host=HostConfig(),
                networking={},
                path="true",
                args=(),
            )
        )

    assert command("CMD", "a", "b") == ("a", "b")
    assert command("CMD-SHELL", "a b") == ("/bin/sh", "-c", "a b")
    assert command("NONE") == ()
    assert command() == ()


def test_output_without_its_frames() -> None:
    def frame(stream: int, data: bytes) -> bytes:
        return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data

    whole = frame(1, b"out\n") + frame(2, b"err\n")
    assert unframed(whole) == b"out\nerr\n"
    assert unframed(whole[:-2]) == b"out\ner"
    assert unframed(whole[:15]) == b"out\n"
    assert unframed(b"") == b""


def test_what_is_told_of_a_check_that_took_too_long() -> None:
    assert timed_out(0.3, "") == "Health check exceeded timeout (300ms)"
    assert timed_out(2.5, "x") == "Health check exceeded timeout (2.5s): x"
