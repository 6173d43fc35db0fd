"""What makes a step be taken from the cache, and that the same input gives the same image."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from datetime import datetime
from pathlib import Path

import pytest

from wherry.build.api import StepCached, StepOutcome, StepRunning, StepStarted

pytestmark = pytest.mark.root

TEXT = """\
FROM busybox
ARG v=1
ENV x=1
COPY f /f
RUN echo $v; date > /date; mkdir -p /d/e; touch /d/e/f
"""


def _cached(bench) -> list[bool]:
    """For each step of the last build after FROM: whether it was taken from the cache."""
    flags: list[bool] = []
    for event in bench.events:
        if isinstance(event, StepStarted):
            flags.append(False)
        elif isinstance(event, StepCached):
            flags[-1] = True
    return flags[1:]


def test_the_second_build_does_nothing(bench) -> None:
    first = bench.build(TEXT, {"f": b"1"})
    second = bench.build(TEXT, {"f": b"1"})
    assert second.image == first.image
    assert _cached(bench) == [True] * 4
    assert not any(isinstance(event, StepRunning) for event in bench.events)


def test_no_cache(bench) -> None:
    bench.build(TEXT, {"f": b"1"})
    bench.build(TEXT, {"f": b"1"}, no_cache=True)
    assert _cached(bench) == [False] * 4


def test_content_counts(bench) -> None:
    bench.build(TEXT, {"f": b"1"})
    bench.build(TEXT, {"f": b"2"})
    assert _cached(bench) == [True, True, False, False]


def test_arguments_and_variables_count(bench) -> None:
    bench.build(TEXT, {"f": b"1"})
    bench.build(TEXT, {"f": b"1"}, build_args={"v": "2"})
    assert not any(_cached(bench))
    bench.build(TEXT.replace("x=1", "x=2"), {"f": b"1"})
    assert _cached(bench) == [True, False, False, False]


def test_proxies_and_unused_arguments_do_not_count(bench) -> None:
    bench.build(TEXT, {"f": b"1"})
    bench.build(TEXT, {"f": b"1"}, build_args={"http_proxy": "http://x"}, host_ca=True)
    assert _cached(bench) == [True] * 4


def _context(**changes: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("Dockerfile", TEXT.encode()), ("f", b"1")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            for field, value in changes.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_times_and_the_senders_owner_do_not_count_but_modes_do(bench) -> None:
    first = bench.build_tar(_context(mtime=1))
    second = bench.build_tar(_context(mtime=1_700_000_000, uid=1000))
    assert _cached(bench) == [True] * 4
    assert second.image == first.image
    bench.build_tar(_context(mode=0o755))
    assert _cached(bench) == [True, True, False, False]


def test_two_machines_make_the_same_image(bench, another_bench) -> None:
    text = TEXT.replace("date > /date; ", "")
    here = bench.build(text, {"f": b"1"})
    another_bench.runner.run = _an_hour_later(another_bench)
    there = another_bench.build(text, {"f": b"1"})
    assert here.image == there.image
    layers = [b.images.get(here.image).layers for b in (bench, another_bench)]
    assert layers[0] == layers[1]


def _an_hour_later(bench):
    """Run steps as if the clock there was ahead: it must not show in the image."""
    run = bench.runner.run

    def later(step, output, cancel):
        outcome = run(step, output, cancel)
        for path in Path(bench.snapshots.changes_dir(step.snapshot)).rglob("*"):
            os.utime(path, (time.time() + 3600,) * 2, follow_symlinks=False)
        return outcome

    return later


def test_times_are_those_of_the_base_image(bench) -> None:
    result = bench.build(TEXT, {"f": b"1"})
    base = datetime.fromisoformat("2024-05-06T07:08:09+00:00").timestamp()
    assert bench.config(result).created == "2024-05-06T07:08:09Z"
    for name in ("f", "d", "d/e", "d/e/f"):
        assert bench.lstat(result, name).st_mtime == base


def test_source_date_epoch(bench) -> None:
    text = "FROM busybox\nCOPY f /f\nRUN echo $SOURCE_DATE_EPOCH > /e\n"
    result = bench.build(text, {"f": b"1"}, build_args={"SOURCE_DATE_EPOCH": "1000000000"})
    assert bench.read(result, "e") == "1000000000\n"
    assert bench.config(result).created == "2001-09-09T01:46:40Z"
    assert bench.lstat(result, "f").st_mtime == 1_000_000_000
    assert result.warnings == ()


def test_a_stage_that_gives_the_same_file_is_a_hit(bench) -> None:
    text = "FROM busybox AS a\nRUN echo {n} > /other; echo x > /x\nFROM busybox\nCOPY --from=a /x /"
    first = bench.build(text.replace("{n}", "1"))
    second = bench.build(text.replace("{n}", "2"))
    assert _cached(bench)[-1]
    assert first.image == second.image


def test_steps_of_a_failed_build_are_kept(bench) -> None:
    with pytest.raises(Exception, match="non-zero code: 1"):
        bench.build("FROM busybox\nRUN echo long > /x\nRUN false\n")
    bench.build("FROM busybox\nRUN echo long > /x\nRUN true\n")
    assert _cached(bench) == [True, False]


def test_a_layer_that_is_gone_is_made_again(bench) -> None:
    text = "FROM busybox\nRUN echo a > /x\n"
    first = bench.build(text)
    bench.images.remove(first.image)
    second = bench.build(text)
    assert second.image == first.image
    assert _cached(bench) == [False]
    assert bench.read(second, "x") == "a\n"


def test_a_cached_step_costs_the_same_wherever_it_is(bench) -> None:
    bench.runner.run = lambda step, output, cancel: _touch(bench, step)
    few, many = (_calls_of_cached(bench, steps) for steps in (20, 40))
    assert many / few < 2.2


def _calls_of_cached(bench, steps: int) -> int:
    """How many functions a build calls that is cached: unlike its time, the same everywhere."""
    text = "FROM busybox\n" + "".join(f"RUN true {n}\n" for n in range(steps))
    bench.build(text)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        bench.build(text)
    finally:
        sys.setprofile(None)
    assert all(_cached(bench))
    return calls


def _touch(bench, step):
    """A step that changes a file, without a process."""
    (Path(bench.snapshots.changes_dir(step.snapshot)) / "file").write_text(step.id)
    return StepOutcome(exit_code=0)
