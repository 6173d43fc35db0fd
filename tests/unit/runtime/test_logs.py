"""The log formats, their writers and readers, on real files."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path

import pytest

from wherry.errors import InvalidArgument, NotSupported
from wherry.runtime.api import LogSettings
from wherry.runtime.logs.formats import MAGIC, json_lines, rfc3339_nano
from wherry.runtime.logs.lines import PIECE, Lines
from wherry.runtime.logs.parsing import parse_rfc3339
from wherry.runtime.logs.reader import LogReader, LogRecord
from wherry.runtime.logs.writer import LogWriter, open_writer
from wherry.runtime.monitor.output_log import OutputLog

DRIVERS = ["local", "json-file"]
SECOND = 1_000_000_000


def settings(tmp_path: Path, driver: str, **more: object) -> LogSettings:
    return LogSettings(driver=driver, path=str(tmp_path / "log"), **more)  # type: ignore[arg-type]


def write(writer: LogWriter, *lines: bytes, stream: int = 1, first_ns: int = SECOND) -> None:
    for number, line in enumerate(lines):
        writer.write(stream, [(first_ns + number * SECOND, line, False)])


def opened(chosen: LogSettings) -> LogWriter:
    writer = open_writer(chosen)
    assert writer is not None
    return writer


def data(records: list[LogRecord]) -> list[bytes]:
    return [record.data for record in records]


# --- cutting streams into lines ---


def test_lines_are_given_out_when_they_are_complete() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw", 1) == [(1, b"one\n", False)]
    assert lines.feed(b"o\nthree\n", 2) == [(2, b"two\nthree\n", False)]
    assert lines.finish(3) == []


def test_a_last_line_without_newline_is_kept_as_it_is() -> None:
    lines = Lines()
    assert lines.feed(b"prompt> ", 1) == []
    assert lines.finish(5) == [(5, b"prompt> ", False)]


def test_a_long_line_is_given_out_in_pieces_with_the_time_of_the_first() -> None:
    lines = Lines()
    assert lines.feed(b"x" * PIECE, 1) == [(1, b"x" * PIECE, True)]
    assert lines.feed(b"y" * PIECE, 2) == [(1, b"y" * PIECE, True)]
    assert lines.feed(b"z\nnext\n", 3) == [(1, b"z\n", False), (3, b"next\n", False)]


# --- Docker's lines ---


def test_json_lines_have_dockers_bytes() -> None:
    line = json_lines(2, 1_700_000_000_120_000_000, b'<a href="x">\t&\\\r\n')
    assert line == (
        b'{"log":"\\u003ca href=\\"x\\"\\u003e\\u0009\\u0026\\\\\\r\\n","stream":"stderr",'
        b'"time":"2023-11-14T22:13:20.12Z"}\n'
    )


def test_bytes_that_are_not_utf8_are_replaced_one_by_one() -> None:
    line = json_lines(1, 0, b"a\xe2\x82b\xff\n")
    assert json.loads(line)["log"] == "a\ufffd\ufffdb\ufffd\n"


def test_a_long_line_among_others_is_cut() -> None:
    long = b"x" * PIECE + b"yyy\n"
    assert Lines().feed(b"a\n" + long + b"b\n", 5) == [
        (5, b"a\n", False),
        (6, long[:PIECE], True),
        (6, b"yyy\n", False),
        (7, b"b\n", False),
    ]


def test_lines_have_times_of_their_own() -> None:
    lines = json_lines(1, SECOND - 1, b"a\n\nb").splitlines()
    found = [(json.loads(line)["log"], json.loads(line)["time"]) for line in lines]
    assert found == [
        ("a\n", "1970-01-01T00:00:00.999999999Z"),
        ("\n", "1970-01-01T00:00:01Z"),
        ("b", "1970-01-01T00:00:01.000000001Z"),
    ]


@pytest.mark.parametrize("first", [0, 998, SECOND - 700, 1_795_251_596_149_099_609])
def test_many_lines_have_times_as_go_writes_them(first: int) -> None:
    texts = [f'line {number} \u2028<\\"\n' for number in range(1500)]
    lines = [
        json.loads(line) for line in json_lines(2, first, "".join(texts).encode()).splitlines()
    ]
    assert [line["log"] for line in lines] == texts
    assert [line["time"] for line in lines] == [rfc3339_nano(first + n) for n in range(1500)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_reading_goes_on_after_any_line(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver)
    log = OutputLog(chosen)
    log.write(1, b"a\nb\nc\n")
    log.write(2, b"d\ne\n")
    log.write(1, b"f")
    log.finish()
    records = list(LogReader(chosen).read())
    assert data(records) == [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"f"]
    for number, record in enumerate(records):
        rest = LogReader(chosen).read(since_ns=record.time_ns + 1, joined=True)
        assert list(rest) == records[number + 1 :]


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (1_795_251_596_149_099_609, "2026-11-21T08:59:56.149099609Z"),
    ],
)
def test_times_are_written_and_read_as_go_does(time_ns: int, text: str) -> None:
    assert rfc3339_nano(time_ns) == text
    assert parse_rfc3339(text) == time_ns


# --- writing and reading ---


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_written_is_read(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver)
    writer = opened(chosen)
    writer.write(1, [(SECOND, b"one\ntwo\n", False)])
    writer.write(2, [(2 * SECOND, b"oops\n", False)])
    writer.close()
    assert list(LogReader(chosen).read()) == [
        LogRecord(SECOND, 1, b"one\n", False),
        LogRecord(SECOND + 1, 1, b"two\n", False),
        LogRecord(2 * SECOND, 2, b"oops\n", False),
    ]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("tail", [0, 1, 2, 3, 6, 7, 99])
def test_the_last_lines_are_found_from_the_end(tmp_path: Path, driver: str, tail: int) -> None:
    chosen = settings(tmp_path, driver, max_size=200, max_files=9)
    writer = opened(chosen)
    wanted = []
    for number in range(3):
        lines = [f"{number}-{part}-{'x' * 20}\n".encode() for part in range(2)]
        writer.write(1, [(number * SECOND, b"".join(lines), False)])
        wanted += lines
    writer.close()
    found = data(list(LogReader(chosen).read(tail=tail)))
    assert found == (wanted[-tail:] if tail else [])


@pytest.mark.parametrize("driver", DRIVERS)
def test_time_bounds_are_inclusive(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver)
    writer = opened(chosen)
    write(writer, b"1\n", b"2\n", b"3\n", b"4\n")
    writer.close()
    found = LogReader(chosen).read(since_ns=2 * SECOND, until_ns=3 * SECOND)
    assert data(list(found)) == [b"2\n", b"3\n"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_rotation_keeps_the_number_of_files_and_their_size(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver, max_size=500, max_files=3)
    writer = opened(chosen)
    write(writer, *(f"line {number}\n".encode() for number in range(100)))
    writer.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
    found = data(list(LogReader(chosen).read()))
    assert found == [f"line {number}\n".encode() for number in range(100 - len(found), 100)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_log_of_one_file_starts_again(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver, max_size=300, max_files=1)
    writer = opened(chosen)
    write(writer, *(f"line {number}\n".encode() for number in range(50)))
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert data(list(LogReader(chosen).read()))[-1] == b"line 49\n"


@pytest.mark.parametrize("driver", DRIVERS)
def test_compressed_files_are_read_too(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver, max_size=500, max_files=3, compress=True)
    writer = opened(chosen)
    write(writer, *(f"line {number}\n".encode() for number in range(30)))
    writer.close()
    assert {"log", "log.1.gz", "log.2.gz"} >= {path.name for path in tmp_path.iterdir()}
    found = data(list(LogReader(chosen).read()))
    assert len(found) > 10
    assert found == [f"line {number}\n".encode() for number in range(30 - len(found), 30)]
    assert data(list(LogReader(chosen).read(tail=12)))[0] == b"line 18\n"


def test_a_record_that_a_crash_cut_is_removed_before_writing_on(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "local")
    writer = opened(chosen)
    write(writer, b"whole\n", b"cut\n")
    writer.close()
    path = Path(chosen.path)
    os.truncate(path, path.stat().st_size - 3)
    assert data(list(LogReader(chosen).read())) == [b"whole\n"]
    assert data(list(LogReader(chosen).read(tail=5))) == [b"whole\n"]
    writer = opened(chosen)
    write(writer, b"again\n")
    writer.close()
    assert data(list(LogReader(chosen).read())) == [b"whole\n", b"again\n"]


def test_a_file_that_is_not_a_log_is_begun_again(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "local")
    Path(chosen.path).write_bytes(b"something else entirely, long enough to look at")
    writer = opened(chosen)
    write(writer, b"fresh\n")
    writer.close()
    assert Path(chosen.path).read_bytes().startswith(MAGIC)
    assert data(list(LogReader(chosen).read())) == [b"fresh\n"]


def test_lines_that_are_not_dockers_are_left_out(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "json-file")
    Path(chosen.path).write_bytes(b"garbage\n" + json_lines(1, SECOND, b"good\n") + b'{"log":')
    assert data(list(LogReader(chosen).read())) == [b"good\n"]


def test_drivers_that_cannot_be_read_or_are_unknown(tmp_path: Path) -> None:
    assert open_writer(settings(tmp_path, "none")) is None
    with pytest.raises(NotSupported, match="does not support reading"):
        LogReader(settings(tmp_path, "none"))
    with pytest.raises(InvalidArgument, match="unknown log driver 'sysleg'"):
        open_writer(settings(tmp_path, "sysleg"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    writer = opened(LogSettings(driver="json-file", path="/dev/full", max_size=0))
    write(writer, b"lost\n")
    writer.close()


# --- following ---


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 5)[0])


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_follower_is_woken_and_crosses_rotations(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver, max_size=400, max_files=20)
    writer = opened(chosen)
    write(writer, b"before\n")
    follower = LogReader(chosen).follow(tail=1)
    found = data(follower.read_available())
    assert found == [b"before\n"]
    assert follower.read_available() == []
    for number in range(60):
        write(writer, f"line {number}\n".encode())
        if number % 17 == 0:
            assert readable(follower.fileno())
            found += data(follower.read_available())
    while more := follower.read_available(limit=70):
        found += data(more)
    assert found == [b"before\n", *(f"line {number}\n".encode() for number in range(60))]
    follower.close()
    writer.close()


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_follower_that_fell_behind_reads_what_was_compressed(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver, max_size=400, max_files=50, compress=True)
    writer = opened(chosen)
    lines = [f"line {number}\n".encode() for number in range(60)]
    write(writer, *lines[:5])
    follower = LogReader(chosen).follow()
    found = data(follower.read_available(limit=1))
    write(writer, *lines[5:], first_ns=6 * SECOND)
    writer.close()
    assert list(tmp_path.glob("*.gz"))
    while more := follower.read_available():
        found += data(more)
    assert found == lines
    follower.close()


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_follower_goes_on_with_what_is_left(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver, max_size=200, max_files=3)
    writer = opened(chosen)
    follower = LogReader(chosen).follow()
    write(writer, *(f"line {number}\n".encode() for number in range(60)))
    found = data(follower.read_available())
    left = data(list(LogReader(chosen).read()))
    assert found[-len(left) :] == left
    assert (found[0], found[-1]) == (b"line 0\n", b"line 59\n")
    follower.close()
    writer.close()


@pytest.mark.parametrize("driver", DRIVERS)
def test_lines_may_come_together(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver)
    writer = opened(chosen)
    writer.write(1, [(SECOND, b"a\nb\nc\n", False), (2 * SECOND, b"d\n", False)])
    writer.write(2, [(2 * SECOND, b"e\nf\n", False)])
    writer.close()
    joined = list(LogReader(chosen).read(tail=5, joined=True))
    assert b"".join(data(joined)) == b"b\nc\nd\ne\nf\n"
    assert joined[-1] == LogRecord(2 * SECOND, 2, b"e\nf\n", False)


def test_what_is_not_dockers_is_left_out(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "json-file")
    good = json_lines(1, SECOND, b"one\n")
    Path(chosen.path).write_bytes(good + b"{broken\n" + b'{"time": "x"}\n' + good)
    assert data(list(LogReader(chosen).read())) == [b"one\n", b"one\n"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_follower_from_the_end_sees_only_what_is_new(tmp_path: Path, driver: str) -> None:
    chosen = settings(tmp_path, driver)
    writer = opened(chosen)
    write(writer, b"old\n")
    follower = LogReader(chosen).follow(tail=0)
    assert follower.read_available() == []
    write(writer, b"new\n")
    assert readable(follower.fileno())
    assert data(follower.read_available()) == [b"new\n"]
    follower.close()
    writer.close()


def test_a_follower_waits_for_a_log_that_does_not_exist_yet(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "local")
    follower = LogReader(chosen).follow()
    assert follower.read_available() == []
    writer = opened(chosen)
    write(writer, b"first\n")
    assert readable(follower.fileno())
    assert data(follower.read_available()) == [b"first\n"]
    follower.close()
    writer.close()


def test_a_follower_stops_after_its_last_moment(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "local")
    writer = opened(chosen)
    write(writer, b"1\n", b"2\n", b"3\n")
    follower = LogReader(chosen).follow(until_ns=2 * SECOND)
    assert data(follower.read_available()) == [b"1\n", b"2\n"]
    assert follower.done
    follower.close()
    writer.close()
