"""Standard streams, attached clients, terminals and logs."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import Box, eventually, read_all, read_until, split, wait

from wherry.errors import Conflict, InvalidArgument
from wherry.runtime.api import LogSettings
from wherry.runtime.logs.reader import LogReader
from wherry.runtime.monitor.attach import BUFFER

pytestmark = pytest.mark.root


def test_standard_input_is_piped_and_closed(box: Box) -> None:
    assert box.run("cat", stdin=b"through and through\n").stdout == b"through and through\n"


def test_much_input_and_output_arrive_whole(box: Box) -> None:
    data = bytes(range(256)) * 4096
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = box.start(
                "cat",
                attach=True,
                attach_streams=(True, True, True),
                open_stdin=True,
                stdin_once=True,
                fds=(theirs.fileno(),),
            )
        received = b""
        ours.setblocking(False)
        sent = 0
        while True:
            writing = [ours] if sent < len(data) else []
            readable, writable, _ = select.select([ours], writing, [], 20)
            assert readable or writable
            if writable:
                sent += ours.send(data[sent : sent + 65536])
                if sent == len(data):
                    ours.shutdown(socket.SHUT_WR)
            if readable:
                block = ours.recv(1 << 16)
                if not block:
                    break
                received += block
    assert split(received)[0] == data
    assert wait(process).code == 0


def test_without_open_stdin_it_is_null(box: Box) -> None:
    assert box.run("cat").code == 0


def test_input_stays_open_for_the_next_client_unless_it_is_for_one(box: Box) -> None:
    process = box.start("cat", open_stdin=True)
    for word in (b"first\n", b"second\n"):
        client = process.attach(stdin=True, stdout=True, stderr=True)
        client.sendall(word)
        assert split(read_until(client, word))[0] == word
        client.close()
    process.close_stdin()
    assert wait(process).code == 0


def test_input_closes_when_its_one_client_goes(box: Box) -> None:
    process = box.start("cat", open_stdin=True, stdin_once=True)
    process.attach(stdin=True, stdout=True, stderr=True).close()
    assert wait(process).code == 0


def test_several_clients_see_what_comes_after_them(box: Box) -> None:
    process = box.start("sh", "-c", "read x; echo $x; echo oops >&2", open_stdin=True)
    both = process.attach(stdin=True, stdout=True, stderr=True)
    only = process.attach(stdin=False, stdout=False, stderr=True)
    both.sendall(b"go\n")
    assert split(read_all(both)) == (b"go\n", b"oops\n")
    assert split(read_all(only)) == (b"", b"oops\n")
    assert wait(process).code == 0


def test_a_client_that_goes_does_not_disturb_the_others(box: Box) -> None:
    process = box.start("sh", "-c", "read x; yes | head -c 300000", open_stdin=True)
    staying = process.attach(stdin=True, stdout=True, stderr=True)
    process.attach(stdin=False, stdout=True, stderr=True).close()
    staying.sendall(b"go\n")
    assert len(split(read_all(staying))[0]) == 300_000
    assert wait(process).code == 0


def test_a_client_that_does_not_read_holds_the_container_back_and_bounds_memory(box: Box) -> None:
    process = box.start(
        "sh", "-c", "read x; yes | head -c 20000000; exec sleep 100", open_stdin=True
    )
    slow = process.attach(stdin=True, stdout=True, stderr=True)
    parent = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    slow.sendall(b"go\n")
    before = _private_kilobytes(parent)
    eventually(lambda: _private_kilobytes(parent) - before >= BUFFER // 1024)
    assert _private_kilobytes(parent) - before < 4 * BUFFER // 1024
    process.resize  # noqa: B018 - the control connection is served meanwhile:
    with pytest.raises(Conflict, match="no terminal"):
        process.resize(1, 1)
    slow.settimeout(patience(20))
    received = 0
    while received < 20_000_000:
        received += len(slow.recv(1 << 20))
    slow.close()


def _private_kilobytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    raise AssertionError("no Private_Dirty")


# --- terminals ---


def test_a_terminal(box: Box) -> None:
    result = box.run("sh", "-c", "tty; stty size; ls -l /dev/console | cut -c1", **TERMINAL)
    assert result.stdout.split() == [b"/dev/pts/0", b"33", b"44", b"c"]


TERMINAL = {"process_terminal": True, "console_size": (33, 44), "open_stdin": True}


def test_a_terminal_is_resized_and_reads(box: Box) -> None:
    process = box.start("sh", **TERMINAL)
    client = process.attach(stdin=True, stdout=True, stderr=True)
    process.resize(50, 132)
    client.sendall(b"stty size\n")
    read_until(client, b"50 132")
    client.sendall(b"exit 3\n")
    assert wait(process).code == 3
    read_all(client)


def test_the_terminal_controls_its_session(box: Box) -> None:
    # It says again and again that it has its trap, for the client may come late.
    script = "trap 'echo caught; exit 5' INT; while :; do echo up; sleep 0.1; done"
    process = box.start("sh", "-c", script, **TERMINAL)
    client = process.attach(stdin=True, stdout=True, stderr=True)
    assert read_until(client, b"up\r\n")
    client.sendall(b"\x03")
    assert wait(process).code in (5, 130)
    client.close()


def test_a_terminal_that_nobody_has_open_for_a_while(box: Box) -> None:
    script = (
        "exec <&- >&- 2>&-; while ! test -e /data/go; do sleep 0.02; done; echo b > /dev/console"
    )
    process = box.start("sh", "-c", script, **TERMINAL)
    client = process.attach(stdin=True, stdout=True, stderr=True)
    monitor = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    eventually(lambda: not _terminals(process.pid))
    before = _cpu_ticks(monitor)
    box.exec(process, "sleep", "0.3")
    assert _cpu_ticks(monitor) - before < 10  # it does not spin meanwhile
    Path(f"/proc/{process.pid}/root/data/go").touch()
    assert read_until(client, b"b\r\n")
    assert wait(process).code == 0
    client.close()


def _terminals(pid: int) -> list[str]:
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return [link for link in links if "pts" in link or "console" in link]


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_size_that_cannot_be(box: Box) -> None:
    process = box.start("sleep", "100", **TERMINAL)
    with pytest.raises(InvalidArgument, match="no size for a terminal"):
        process.resize(-1, 10)
    process.signal(9)
    wait(process)
    with pytest.raises(Conflict, match="has ended"):
        process.resize(1, 1)


# --- after the end ---


def test_what_ended_cannot_be_signalled_or_attached(box: Box) -> None:
    process = box.start("true")
    wait(process)
    with pytest.raises(Conflict, match="has ended"):
        process.signal(signal.SIGTERM)
    with pytest.raises(Conflict, match="has ended"):
        process.attach(stdin=False, stdout=True, stderr=True)


def test_output_of_a_process_that_ended_is_still_delivered(box: Box) -> None:
    process = box.start("sh", "-c", "read x; yes | head -c 1500000", open_stdin=True)
    client = process.attach(stdin=True, stdout=True, stderr=True)
    client.sendall(b"go\n")
    eventually(lambda: len(client.recv(1 << 16, socket.MSG_PEEK)) > 60_000)
    data = read_all(client)
    assert len(split(data)[0]) == 1_500_000
    assert wait(process).code == 0


# --- logs ---


@pytest.mark.parametrize("driver", ["local", "json-file"])
def test_the_log_has_every_line(box: Box, driver: str) -> None:
    log = LogSettings(driver=driver, path=str(box.directory / "log"))
    before = time.time_ns()
    result = box.run("sh", "-c", "seq 1 3000; echo oops >&2; printf end", log=log)
    records = list(LogReader(log).read())
    out = b"".join(record.data for record in records if record.stream == 1)
    assert out == result.stdout
    assert b"".join(record.data for record in records if record.stream == 2) == b"oops\n"
    assert all(before <= record.time_ns <= result.status.finished_ns for record in records)


def test_a_log_that_cannot_be_opened_fails_the_start(box: Box) -> None:
    log = LogSettings(driver="local", path=str(box.directory / "no/such/log"))
    with pytest.raises(Exception, match="No such file or directory"):
        box.start("true", log=log)
    assert not (box.bundle() / "state").exists()


def test_a_full_disk_does_not_stop_the_container(box: Box) -> None:
    log = LogSettings(driver="json-file", path="/dev/full", max_size=0)
    result = box.run("sh", "-c", "seq 1 5000; exit 3", log=log)
    assert (len(result.lines), result.code) == (5000, 3)


def test_nothing_of_the_host_leaks_into_the_state_directory(box: Box) -> None:
    box.run("true")
    names = sorted(os.listdir(box.bundle() / "state"))
    assert names == ["exit.json", "monitor.sock", "state.json"]
