"""State files, and the small readers of text beside them."""

from __future__ import annotations

import os
from pathlib import Path

from wherry.model.runtime_spec import IdMapping
from wherry.runtime import state
from wherry.runtime.api import ExitStatus
from wherry.runtime.ops.idmap import mapping_text
from wherry.runtime.ops.program import home_of


def test_a_process_is_told_by_its_start_time() -> None:
    assert state.start_time_ticks(os.getpid()) is not None
    assert state.start_time_ticks(2**22 + 1) is None


def test_records_are_written_and_read(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    record = state.ProcessState(
        id="a",
        pid=5,
        start_time_ticks=6,
        boot_id=state.boot_id(),
        bundle="/b",
        cgroup="/c",
        owns_cgroup=True,
        created_ns=7,
    )
    state.write_state(directory, record)
    state.write_exit(directory, ExitStatus(code=3, finished_ns=4))
    assert state.read_state(str(tmp_path)) == record
    assert state.read_exit(str(tmp_path)) == ExitStatus(code=3, finished_ns=4)
    assert sorted(os.listdir(tmp_path)) == ["exit.json", "state.json"]
    state.forget(directory)
    assert os.listdir(tmp_path) == []
    os.close(directory)


def test_half_a_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"id":')
    assert state.read_state(str(tmp_path)) is None
    assert state.read_exit(str(tmp_path)) is None


def test_home_directories() -> None:
    passwd = b"root:x:0:0:r:/root:/bin/sh\nbroken:x:5\nbob:x:5:5:B:/home/bob:/bin/sh\n"
    assert home_of(passwd, 0) == b"/root"
    assert home_of(passwd, 5) == b"/home/bob"
    assert home_of(passwd, 6) == b""
    assert home_of(b"\xff\xfe:::", 0) == b""


def test_mappings_as_the_kernel_reads_them() -> None:
    mappings = [
        IdMapping(container_id=0, host_id=100, size=1),
        IdMapping(container_id=1, host_id=200, size=9),
    ]
    assert mapping_text(mappings) == "0 100 1\n1 200 9\n"
