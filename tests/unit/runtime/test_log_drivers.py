"""Logging services: what they are sent, on real sockets, as their protocols say."""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import log_receivers as receivers
from tests.certificates import new_authority

from wherry.errors import InvalidArgument
from wherry.runtime.api import LogTarget
from wherry.runtime.logs.drivers import Driver, check_options, open_driver
from wherry.runtime.logs.drivers.gelf import datagrams
from wherry.runtime.logs.drivers.journald import Journald, field_name
from wherry.runtime.logs.drivers.messages import Message, Messages, Piece
from wherry.runtime.logs.formats import local_record

ID = "0123456789abcdef" * 4
MOMENT = 1_795_251_596_149_099_609  # 2026-11-21T08:59:56.149099609Z


def target(driver: str, **options: str) -> LogTarget:
    return LogTarget(
        driver=driver,
        options={name.replace("_", "-"): value for name, value in options.items()},
        container_id=ID,
        container_name="web",
        image_id="sha256:" + ID,
        image_name="busybox:latest",
        command="sh -c true",
        created_ns=MOMENT,
        tag="my tag",
        attributes={"team.name": "blue", "_STAGE": "test"},
    )


def sent(driver: Driver, *messages: Message) -> None:
    for message in messages:
        driver.log(message)
    driver.close()


def line(text: bytes, stream: int = 1, piece: Piece | None = None) -> Message:
    return Message(stream, MOMENT, text, piece)


# --- records to messages ---


def test_records_become_lines_and_pieces() -> None:
    messages = Messages()
    assert list(messages.of_record(local_record(1, 5, b"one\n\ntwo\n", False))) == [
        Message(1, 5, b"one"),
        Message(1, 6, b""),
        Message(1, 7, b"two"),
    ]
    (first,) = messages.of_record(local_record(1, 6, b"aaa", True))
    (other,) = messages.of_record(local_record(2, 7, b"oops\n", False))
    (second,) = messages.of_record(local_record(1, 6, b"bbb", True))
    (last,) = messages.of_record(local_record(1, 6, b"c\n", False))
    assert other.piece is None
    pieces = [message.piece for message in (first, second, last)]
    assert [(p.ordinal, p.last) for p in pieces if p] == [(1, False), (2, False), (3, True)]
    assert len({p.id for p in pieces if p}) == 1


# --- syslog ---


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("", rb"<30>Nov 21 \d\d:59:56 my_tag\[\d+\]: hello\n"),
        ("rfc3164", rb"<30>Nov 21 \d\d:59:56 HOST my_tag\[\d+\]: hello\n"),
        ("rfc5424", rb"<30>1 2026-11-21T08:59:56Z HOST my_tag \d+ my_tag - hello\n"),
        ("rfc5424micro", rb"<30>1 2026-11-21T08:59:56.149099Z HOST my_tag \d+ my_tag - hello\n"),
    ],
)
def test_syslog_formats_over_udp(form: str, pattern: bytes) -> None:
    with receivers.datagrams() as receiver:
        options = {"syslog_address": receiver.address, "syslog_format": form}
        sent(open_driver(target("syslog", **options)), line(b"hello"))
        pattern = pattern.replace(b"HOST", re.escape(socket.gethostname().encode()))
        assert re.fullmatch(pattern, receiver.take())


def test_syslog_priorities() -> None:
    with receivers.datagrams() as receiver:
        options = {"syslog_address": receiver.address, "syslog_facility": "local3"}
        sent(open_driver(target("syslog", **options)), line(b"out"), line(b"err", 2))
        assert [data[:5] for data in receiver.take_some(2)] == [b"<158>", b"<155>"]


def test_syslog_over_a_unix_datagram_socket(tmp_path: Path) -> None:
    with receivers.datagrams(tmp_path / "log") as receiver:
        sent(open_driver(target("syslog", syslog_address=receiver.address)), line(b"hello"))
        assert receiver.take().endswith(b": hello\n")


@pytest.mark.parametrize("unix", [False, True])
def test_syslog_over_streams(tmp_path: Path, unix: bool) -> None:
    path = tmp_path / "log" if unix else None
    with receivers.streams(receivers.by_lines(b"\n"), path) as receiver:
        driver = open_driver(target("syslog", syslog_address=receiver.address))
        sent(driver, line(b"one"), line(b"\xff\x00two"))
        assert [data.rpartition(b": ")[2] for data in receiver.take_some(2)] == [
            b"one",
            b"\xff\x00two",
        ]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = new_authority(tmp_path_factory.mktemp("tls"))
    certificate, key = made.sign("server")
    client, client_key = made.sign("client")
    return {
        "ca": made.certificate,
        "cert": certificate,
        "key": key,
        "client": client,
        "client_key": client_key,
    }


def server_context(authority: dict[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority["cert"], authority["key"])
    context.load_verify_locations(authority["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_syslog_over_tls_counts_and_shows_its_certificate(authority: dict[str, str]) -> None:
    context = server_context(authority)
    with receivers.streams(receivers.counted, tls=context, scheme="tcp+tls") as receiver:
        chosen = {
            "syslog_address": receiver.address,
            "syslog_format": "rfc5424",
            "syslog_tls_ca_cert": authority["ca"],
            "syslog_tls_cert": authority["client"],
            "syslog_tls_key": authority["client_key"],
        }
        sent(open_driver(target("syslog", **chosen)), line(b"one"), line(b"two"))
        assert [data[-4:] for data in receiver.take_some(2)] == [b"one\n", b"two\n"]


def test_a_connection_with_tls_is_ended_and_not_cut(authority: dict[str, str]) -> None:
    """To close it with the server's tickets unread is a reset, and loses the last messages."""

    def serve(connection: socket.socket, put: Callable[[bytes], None]) -> None:
        receivers.counted(connection, put)
        put(b"ended")

    context = server_context(authority)
    context.verify_mode = ssl.CERT_NONE
    with receivers.streams(serve, tls=context, scheme="tcp+tls") as receiver:
        chosen = {"syslog_address": receiver.address, "syslog_tls_skip_verify": "true"}
        sent(open_driver(target("syslog", syslog_format="rfc5424", **chosen)), line(b"last"))
        said, end = receiver.take_some(2)
        assert said.endswith(b"last\n")
        assert end == b"ended"


def test_syslog_trusts_only_its_authority(authority: dict[str, str]) -> None:
    context = server_context(authority)
    context.verify_mode = ssl.CERT_NONE
    with receivers.streams(receivers.by_lines(b"\n"), tls=context, scheme="tcp+tls") as receiver:
        with pytest.raises(ssl.SSLCertVerificationError):
            open_driver(target("syslog", syslog_address=receiver.address))
        chosen = {"syslog_address": receiver.address, "syslog_tls_skip_verify": "true"}
        sent(open_driver(target("syslog", **chosen)), line(b"unseen"))
        assert receiver.take().endswith(b"unseen")


def test_syslog_connects_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with receivers.datagrams(path) as receiver:
        driver = open_driver(target("syslog", syslog_address=receiver.address))
        driver.log(line(b"one"))
        assert receiver.take().endswith(b"one\n")
    with pytest.raises(OSError, match="refused"):
        driver.log(line(b"lost"))
    path.unlink()
    with receivers.datagrams(path) as receiver:
        sent(driver, line(b"two"))
        assert receiver.take().endswith(b"two\n")


# --- gelf ---


def test_gelf_fields() -> None:
    with receivers.datagrams() as receiver:
        chosen = {"gelf_address": receiver.address, "gelf_compression_type": "none"}
        sent(open_driver(target("gelf", **chosen)), line(b""), line(b"oops\xff", 2))
        assert json.loads(receiver.take()) == {
            "version": "1.1",
            "host": socket.gethostname(),
            "short_message": "oops\N{REPLACEMENT CHARACTER}",
            "timestamp": 1795251596.149,
            "level": 3,
            "_container_id": ID,
            "_container_name": "web",
            "_image_id": "sha256:" + ID,
            "_image_name": "busybox:latest",
            "_command": "sh -c true",
            "_tag": "my tag",
            "_created": "2026-11-21T08:59:56.149099609Z",
            "_team.name": "blue",
            "__STAGE": "test",
        }


@pytest.mark.parametrize(
    ("more", "unpack"),
    [
        ({}, gzip.decompress),
        ({"gelf_compression_type": "gzip"}, gzip.decompress),
        ({"gelf_compression_type": "zlib"}, zlib.decompress),
    ],
)
def test_gelf_compression(more: dict[str, str], unpack: Callable[[bytes], bytes]) -> None:
    with receivers.datagrams() as receiver:
        chosen = {"gelf_address": receiver.address, **more}
        sent(open_driver(target("gelf", **chosen)), line(b"packed"))
        assert json.loads(unpack(receiver.take()))["short_message"] == "packed"


def test_gelf_chunks() -> None:
    with receivers.datagrams() as receiver:
        chosen = {"gelf_address": receiver.address, "gelf_compression_type": "none"}
        sent(open_driver(target("gelf", **chosen)), line(b"x" * 5000))
        first = receiver.take()
        chunks = [first, *receiver.take_some(first[11] - 1)]
    assert all(len(chunk) <= 1420 and chunk[:2] == b"\x1e\x0f" for chunk in chunks)
    assert len({chunk[2:10] for chunk in chunks}) == 1
    assert [chunk[10] for chunk in chunks] == list(range(first[11]))
    whole = b"".join(chunk[12:] for chunk in chunks)
    assert json.loads(whole)["short_message"] == "x" * 5000


def test_gelf_has_a_largest_message() -> None:
    assert len(datagrams(b"x" * 1408 * 128)) == 128
    with pytest.raises(OSError, match="too long"):
        datagrams(b"x" * (1408 * 128 + 1))


def test_gelf_over_tcp_ends_messages_with_zero() -> None:
    with receivers.streams(receivers.by_lines(b"\0")) as receiver:
        driver = open_driver(target("gelf", gelf_address=receiver.address))
        sent(driver, line(b"one"), line(b"two"))
        found = [json.loads(data)["short_message"] for data in receiver.take_some(2)]
        assert found == ["one", "two"]


# --- fluentd ---


@pytest.mark.parametrize("unix", [False, True])
def test_fluentd_events(tmp_path: Path, unix: bool) -> None:
    path = tmp_path / "fluent" if unix else None
    with receivers.streams(receivers.forward, path) as receiver:
        driver = open_driver(target("fluentd", fluentd_address=receiver.address))
        sent(driver, line(b"hello", 2), line(b"part", 1, Piece("abc", 2, True)))
        tag, time, record = json.loads(receiver.take())
        assert (tag, time) == ("my tag", MOMENT // 10**9)
        assert record == {
            "container_id": ID,
            "container_name": "/web",
            "source": "stderr",
            "log": "hello",
            "team.name": "blue",
            "_STAGE": "test",
        }
        record = json.loads(receiver.take())[2]
        assert {name: value for name, value in record.items() if name.startswith("partial")} == {
            "partial_message": "true",
            "partial_id": "abc",
            "partial_ordinal": "2",
            "partial_last": "true",
        }


def test_fluentd_precision_and_answers() -> None:
    with receivers.streams(receivers.forward) as receiver:
        chosen = {
            "fluentd_address": receiver.address.removeprefix("tcp://"),
            "fluentd_sub_second_precision": "true",
            "fluentd_request_ack": "true",
        }
        sent(open_driver(target("fluentd", **chosen)), line(b"one"), line(b"two"))
        for text in ("one", "two"):
            _, time, record, options = json.loads(receiver.take())
            assert time == {"ext": 0, "seconds": MOMENT // 10**9, "fraction": MOMENT % 10**9}
            assert record["log"] == text
            assert re.fullmatch("[0-9a-f]{32}", options["chunk"])


def test_fluentd_keeps_events_while_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "fluent"
    chosen = {
        "fluentd_address": f"unix://{path}",
        "fluentd_async": "true",
        "fluentd_async_reconnect_interval": "100ms",
    }
    driver = open_driver(target("fluentd", **chosen))
    driver.log(line(b"early"))
    assert driver.idle() is not None
    with receivers.streams(receivers.forward, path) as receiver:
        driver.close()
        assert json.loads(receiver.take())[2]["log"] == "early"


def test_fluentd_drops_what_its_buffer_cannot_hold(tmp_path: Path) -> None:
    chosen = {
        "fluentd_address": f"unix://{tmp_path}/nobody",
        "fluentd_async": "true",
        "fluentd_buffer_limit": "1k",
    }
    driver = open_driver(target("fluentd", **chosen))
    with pytest.raises(OSError, match="full"):
        driver.log(line(b"x" * 2000))


def test_fluentd_tries_as_often_as_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fluent"
    with receivers.streams(receivers.forward, path) as receiver:
        chosen = {
            "fluentd_address": receiver.address,
            "fluentd_max_retries": "2",
            "fluentd_retry_wait": "1ms",
            "fluentd_request_ack": "true",
        }
        driver = open_driver(target("fluentd", **chosen))
        driver.log(line(b"one"))
    with pytest.raises(ConnectionRefusedError):
        driver.log(line(b"two"))


# --- journald ---


def _entry(data: bytes) -> dict[str, bytes]:
    """The fields of an entry in the journal's native form."""
    found = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, mark, value = head.partition(b"=")
        if not mark:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        found[name.decode()] = value
        data = rest
    return found


def test_journal_fields(tmp_path: Path) -> None:
    with receivers.datagrams(tmp_path / "journal") as receiver:
        driver = Journald(target("journald"), str(tmp_path / "journal"))
        sent(driver, line(b"bad\nnews", 2), line(b"x", 1, Piece("abc", 1, False)))
        first, second = map(_entry, receiver.take_some(2))
    assert first.pop("CONTAINER_LOG_EPOCH") == second["CONTAINER_LOG_EPOCH"]
    assert first == {
        "MESSAGE": b"bad\nnews",
        "PRIORITY": b"3",
        "CONTAINER_ID": ID[:12].encode(),
        "CONTAINER_ID_FULL": ID.encode(),
        "CONTAINER_NAME": b"web",
        "CONTAINER_TAG": b"my tag",
        "SYSLOG_IDENTIFIER": b"my tag",
        "SYSLOG_TIMESTAMP": b"2026-11-21T08:59:56.149099609Z",
        "IMAGE_NAME": b"busybox:latest",
        "CONTAINER_LOG_ORDINAL": b"1",
        "TEAM_NAME": b"blue",
        "STAGE": b"test",
    }
    assert second["PRIORITY"] == b"6"
    assert second["CONTAINER_PARTIAL_MESSAGE"] == b"true"
    assert second["CONTAINER_PARTIAL_ID"] == b"abc"
    assert second["CONTAINER_PARTIAL_ORDINAL"] == b"1"
    assert second["CONTAINER_PARTIAL_LAST"] == b"false"


def test_a_long_entry_is_passed_as_a_sealed_file(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        driver = Journald(target("journald"), path)
        driver.log(line(b"x" * 3_000_000))
        data, fds, _, _ = socket.recv_fds(sock, 10, 1)
        assert data == b""
        with open(fds[0], "rb") as file:
            file.seek(0)
            assert _entry(file.read())["MESSAGE"] == b"x" * 3_000_000
        driver.close()


def test_a_host_without_journal_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="journald is not enabled"):
        Journald(target("journald"), str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("text", "name"), [("com.docker.x", "COM_DOCKER_X"), ("__a", "A"), ("_", ""), ("é1", "1")]
)
def test_names_of_journal_fields(text: str, name: str) -> None:
    assert field_name(text) == name


# --- options ---


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("syslog", {"speed": "1"}, "unknown log opt 'speed' for syslog log driver"),
        ("syslog", {"syslog-address": "http://x"}, "syslog-address"),
        ("syslog", {"syslog-address": "unix://log"}, "not absolute"),
        ("syslog", {"syslog-address": "tcp://x:0"}, "no port"),
        ("syslog", {"syslog-facility": "moon"}, "invalid syslog facility"),
        ("syslog", {"syslog-facility": "24"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "pretty"}, "Invalid syslog format"),
        ("journald", {"syslog-format": "x"}, "unknown log opt 'syslog-format' for journald"),
        ("gelf", {}, "gelf-address is a required parameter"),
        ("gelf", {"gelf-address": "udp://x"}, "HOST:PORT"),
        ("gelf", {"gelf-address": "unix:///x"}, "gelf-address"),
        ("gelf", {"gelf-address": "tcp://x:1", "gelf-compression-type": "gzip"}, "UDP"),
        ("gelf", {"gelf-address": "udp://x:1", "gelf-tcp-max-reconnect": "1"}, "TCP"),
        ("gelf", {"gelf-address": "udp://x:1", "gelf-compression-level": "10"}, "level"),
        ("gelf", {"gelf-address": "udp://x:1", "gelf-compression-type": "xz"}, "xz"),
        ("fluentd", {"fluentd-address": "udp://x:1"}, "fluentd-address"),
        ("fluentd", {"fluentd-async": "maybe"}, "fluentd-async"),
        ("fluentd", {"fluentd-retry-wait": "soon"}, "no duration"),
        ("fluentd", {"fluentd-buffer-limit": "lots"}, "invalid size"),
        ("fluentd", {"fluentd-max-retries": "-1"}, "fluentd-max-retries"),
        ("fluentd", {"fluentd-async-reconnect-interval": "1m"}, "10s"),
        ("fluentd", {"fluentd-async": "true", "fluentd-async-connect": "1"}, "conflicting"),
    ],
)
def test_wrong_options_are_refused(driver: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(words)):
        check_options(driver, options)


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("syslog", {"syslog-address": "tcp+tls://logs.example", "syslog-tls-skip-verify": ""}),
        ("syslog", {"syslog-address": "udp://[::1]:1514", "syslog-facility": "16"}),
        ("gelf", {"gelf-address": "udp://x:1", "gelf-compression-level": "-1", "tag": "x"}),
        ("gelf", {"gelf-address": "tcp://x:1", "gelf-tcp-max-reconnect": "0"}),
        ("fluentd", {"fluentd-address": "logs", "fluentd-retry-wait": "1m30.5s"}),
        ("fluentd", {"fluentd-address": "tls://logs:24225", "fluentd-async": "True"}),
        ("journald", {"labels": "a,b", "env-regex": "^X"}),
    ],
)
def test_right_options_are_taken(driver: str, options: dict[str, str]) -> None:
    check_options(driver, options)
