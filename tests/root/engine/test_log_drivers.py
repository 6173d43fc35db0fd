"""Containers whose output goes to logging services, to real sockets of the tests."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import log_receivers as receivers
from tests.patience import patience

from wherry.errors import InternalError, InvalidArgument, NotSupported
from wherry.model.container import HostConfig, LogConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]
PATIENCE = patience(30.0)


def logged(driver: str, **options: str) -> HostConfig:
    config = {name.replace("_", "-"): value for name, value in options.items()}
    return HostConfig(network_mode="none", log_config=LogConfig(type=driver, config=config))


@pytest.fixture
def run(engine: Any) -> Iterator[Any]:
    """``run(host, command)``: a container that has ended; removed after the test."""
    made: list[str] = []

    def start(host: HostConfig, *command: str, wait: bool = True, **config: Any) -> str:
        container = engine.create(*command, host=host, **config)
        made.append(container)
        exited = engine.engine.containers.wait(container, "next-exit")
        engine.engine.containers.start(container)
        if wait:
            assert exited.result(PATIENCE).exit_code == 0
        return str(container)

    yield start
    for container in made:
        engine.engine.containers.remove(container, force=True)


def lines_of(engine: Any, container: str) -> list[bytes]:
    return [record.data for record in engine.engine.containers.logs(container).read()]


def test_syslog_and_its_cache(engine: Any, run: Any) -> None:
    with receivers.datagrams() as receiver:
        host = logged("syslog", syslog_address=receiver.address, tag="{{.Name}}/{{.ID}}")
        container = run(host, "sh", "-c", "echo one; echo two >&2", name="talker")
        found = receiver.take_some(2)
    assert {data.rpartition(b": ")[2] for data in found} == {b"one\n", b"two\n"}
    assert all(b" talker/" + container[:12].encode() + b"[" in data for data in found)
    assert sorted(lines_of(engine, container)) == [b"one\n", b"two\n"]


def test_fluentd_gets_attributes_and_all_that_was_printed_last(engine: Any, run: Any) -> None:
    with receivers.streams(receivers.forward) as receiver:
        host = logged(
            "fluentd", fluentd_address=receiver.address, labels="team", env_regex="^STA", tag="a.b"
        )
        labels, env = {"team": "blue", "other": "x"}, ("STAGE=test", "SECRET=y")
        container = run(host, "printf", "line\\nno newline", labels=labels, env=env)
        tag, _, first = json.loads(receiver.take())
        _, _, second = json.loads(receiver.take())
    assert tag == "a.b"
    assert (first["log"], second["log"]) == ("line", "no newline")
    assert (first["team"], first["STAGE"]) == ("blue", "test")
    assert not {"other", "SECRET"} & set(first)
    assert first["container_id"] == container


def test_gelf_without_a_cache_cannot_be_read(engine: Any, run: Any) -> None:
    with receivers.streams(receivers.by_lines(b"\0")) as receiver:
        host = logged("gelf", gelf_address=receiver.address, cache_disabled="true")
        container = run(host, "echo", "hello")
        assert json.loads(receiver.take())["_command"] == "echo hello"
    with pytest.raises(NotSupported, match="does not support reading"):
        engine.engine.containers.logs(container)


def test_the_cache_is_bounded(engine: Any, run: Any) -> None:
    with receivers.datagrams() as receiver:
        chosen = {"cache_max_size": "64k", "cache_max_file": "2", "cache_compress": "false"}
        host = logged("syslog", syslog_address=receiver.address, **chosen)
        script = "i=0; while [ $i -lt 3000 ]; do echo $i $(printf %090d 0); i=$((i+1)); done"
        container = run(host, "sh", "-c", script)
    directory = Path(engine.settings.container_dir(container))
    sizes = {path.name: path.stat().st_size for path in directory.glob("container.log*")}
    assert set(sizes) == {"container.log", "container.log.1"}
    assert max(sizes.values()) <= 64 * 1024
    assert lines_of(engine, container)[-1].startswith(b"2999 ")


def test_a_service_that_is_absent_fails_the_start(engine: Any, run: Any) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host = logged("fluentd", fluentd_address=f"127.0.0.1:{sock.getsockname()[1]}")
        with pytest.raises(InternalError, match=r"failed to initialize logging driver.*refused"):
            run(host, "true")


def test_asynchronous_fluentd_may_be_absent(engine: Any, run: Any, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/fluent"
    host = logged("fluentd", fluentd_address=address, fluentd_async="true")
    container = run(host, "cat", wait=False, open_stdin=True)
    stream = engine.engine.containers.attach(container, stdin=True, stdout=True, stderr=True)
    exited = engine.engine.containers.wait(container, "next-exit")
    with stream:
        stream.sendall(b"early\n")
        stream.settimeout(PATIENCE)
        assert stream.recv(100).endswith(b"early\n")
        with receivers.streams(receivers.forward, tmp_path / "fluent") as receiver:
            assert json.loads(receiver.take())[2]["log"] == "early"
    engine.engine.containers.kill(container)
    exited.result(PATIENCE)


def silent(connection: socket.socket, put: Any) -> None:
    """Takes nothing, until the test's end shuts the connection down."""
    put(b"connected")
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    poll.poll(PATIENCE * 1000)


LINES = "head -c 65536 /dev/zero | tr '\\0' x | fold -w 1023"
FLOOD = f"i=0; while [ $i -lt 40 ]; do {LINES}; i=$((i+1)); done"


def test_a_slow_service_does_not_hold_up_a_container_that_does_not_block(
    engine: Any, run: Any
) -> None:
    with receivers.streams(silent) as receiver:
        chosen = {
            "mode": "non-blocking",
            "max_buffer_size": "100k",
            "gelf_tcp_max_reconnect": "0",
        }
        host = logged("gelf", gelf_address=receiver.address, **chosen)
        container = run(host, "sh", "-c", FLOOD)
        kept = lines_of(engine, container)
    assert sum(map(len, kept)) >= 40 * 65536


def test_a_slow_service_holds_up_a_container_that_blocks(engine: Any, run: Any) -> None:
    with receivers.streams(silent) as receiver:
        host = logged("gelf", gelf_address=receiver.address, gelf_tcp_max_reconnect="0")
        container = run(host, "sh", "-c", f"while :; do {LINES}; done", wait=False)
        exited = engine.engine.containers.wait(container, "next-exit")
        follower = engine.engine.containers.logs(container).follow()
        _until_quiet(follower)
        assert not exited.done()
        engine.engine.containers.kill(container)
        exited.result(PATIENCE)
        follower.close()


def _until_quiet(follower: Any) -> None:
    """Read until nothing comes for a while."""
    poll = select.poll()
    poll.register(follower.fileno(), select.POLLIN)
    while poll.poll(1000):
        while follower.read_available():
            pass


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_files_are_complete_without_blocking_too(engine: Any, run: Any, driver: str) -> None:
    host = logged(driver, mode="non-blocking", max_buffer_size="64m")
    container = run(host, "sh", "-c", FLOOD)
    assert sum(map(len, lines_of(engine, container))) >= 40 * 65536


def test_json_lines_have_attributes(engine: Any, run: Any) -> None:
    host = logged("json-file", labels="team", tag="{{upper .Name}}")
    container = run(host, "echo", "hi", labels={"team": 'b"lue'}, name="tagged")
    path = engine.engine.containers.get(container).log_path
    (line,) = Path(path).read_text().splitlines()
    assert json.loads(line)["attrs"] == {"team": 'b"lue', "tag": "TAGGED"}
    assert lines_of(engine, container) == [b"hi\n"]


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("asdf", {}, "logger: no log driver named 'asdf' is registered"),
        ("awslogs", {}, "logger: no log driver named 'awslogs' is registered"),
        ("local", {"labels": "x"}, "unknown log opt 'labels' for local log driver"),
        ("json-file", {"mode": "fast"}, "logging mode not supported: fast"),
        ("json-file", {"max_buffer_size": "1m"}, "only supported with 'mode=non-blocking'"),
        ("json-file", {"mode": "non-blocking", "max_buffer_size": "x"}, "invalid size"),
        ("json-file", {"max_file": "0"}, "max-file"),
        ("json-file", {"max_file": "1", "compress": "true"}, "compress cannot be true"),
        ("json-file", {"cache_disabled": "true"}, "unknown log opt 'cache-disabled'"),
        ("syslog", {"cache_max_size": "x"}, "cache-max-size"),
        ("syslog", {"cache_disabled": "perhaps"}, "cache-disabled"),
        ("syslog", {"tag": "{{.Nmae}}"}, "'{{.Nmae}}' is not known"),
        ("syslog", {"tag": "{{.Name"}, "not closed"),
        ("none", {"max_size": "1m"}, "unknown log opt 'max-size' for none log driver"),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    engine: Any, driver: str, options: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        engine.create("true", host=logged(driver, **options))
    assert words in str(caught.value)


def test_without_a_log_its_place_is_known_all_the_same(engine: Any) -> None:
    """From it the API tells where the container's hosts and resolv.conf are."""
    container = engine.create("true", host=logged("none"))
    record = engine.engine.containers.get(container)
    assert os.path.dirname(record.log_path) == engine.settings.container_dir(container)
    engine.engine.containers.remove(container)


def test_a_container_without_a_wish_gets_local(engine: Any, run: Any) -> None:
    container = run(HostConfig(network_mode="none"), "echo", "hi")
    record = engine.engine.containers.get(container)
    assert (record.log_driver, record.host.log_config.type) == ("local", "local")
    assert lines_of(engine, container) == [b"hi\n"]


def test_the_journal(engine: Any, run: Any, need: Any) -> None:
    need("journald")
    host = logged("journald", labels="team", tag="{{.Name}}-tag")
    container = run(
        host, "sh", "-c", "echo one; echo two >&2", labels={"team": "blue"}, name="noted"
    )
    entries = _journal(container, 2)
    assert {(entry["MESSAGE"], entry["PRIORITY"]) for entry in entries} == {
        ("one", "6"),
        ("two", "3"),
    }
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"noted-tag"}
    assert {entry["TEAM"] for entry in entries} == {"blue"}
    assert sorted(lines_of(engine, container)) == [b"one\n", b"two\n"]


def _journal(container: str, count: int) -> list[dict[str, str]]:
    """The entries of a container, once there are so many."""
    deadline = time.monotonic() + PATIENCE
    while True:
        subprocess.run(["journalctl", "--sync"], check=True)
        done = subprocess.run(
            ["journalctl", "-o", "json", f"CONTAINER_ID_FULL={container}"],
            check=True,
            capture_output=True,
        )
        entries = [json.loads(line) for line in done.stdout.splitlines()]
        if len(entries) >= count or time.monotonic() > deadline:
            return entries


def test_without_a_journal_the_start_fails(engine: Any, run: Any) -> None:
    if os.path.exists("/run/systemd/journal/socket"):
        pytest.skip("this machine has a journal")
    with pytest.raises(InternalError, match="journald is not enabled on this host"):
        run(logged("journald"), "true")
