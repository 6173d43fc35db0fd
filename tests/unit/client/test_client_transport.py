"""The transport, against a peer that is played byte by byte over a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.client.session import Session, encode_query, quote
from wherry.client.transport import CHUNK
from wherry.errors import Conflict, InternalError, InvalidArgument, NotFound, Unavailable
from wherry.testing.fake_api import Answer, FakeApi

Peer = Callable[[Callable[[socket.socket], None]], Session]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """Plays one connection after another with the given function, in a thread."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "peer.sock"))
    listener.listen()
    threads: list[threading.Thread] = []

    def play(part: Callable[[socket.socket], None]) -> Session:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                part(connection)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return Session(f"unix://{tmp_path}/peer.sock", timeout=10)

    yield play
    for thread in threads:
        thread.join()
    listener.close()


def _head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(CHUNK)
    return data


def _answering(answer: bytes) -> Callable[[socket.socket], None]:
    def part(connection: socket.socket) -> None:
        _head(connection)
        connection.sendall(answer)

    return part


def test_a_body_in_chunks_with_trailers(peer: Peer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"
    assert peer(_answering(head + body)).request("GET", "/").read() == b"abcde"


def test_a_body_up_to_the_end_of_the_connection(peer: Peer) -> None:
    session = peer(_answering(b"HTTP/1.0 200 OK\r\n\r\nall of it"))
    assert session.request("GET", "/").read() == b"all of it"


def test_a_continue_is_no_answer(peer: Peer) -> None:
    wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert peer(_answering(wire)).request("GET", "/").read() == b"ok"


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(300)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nH: " + b"x" * 200_000,
    ],
)
def test_garbage_is_one_error(peer: Peer, wire: bytes) -> None:
    with pytest.raises(InternalError):
        peer(_answering(wire)).request("GET", "/").read()


@pytest.mark.parametrize(
    "wire", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"]
)
def test_a_connection_that_breaks_is_unavailable(peer: Peer, wire: bytes) -> None:
    with pytest.raises(Unavailable, match="closed the connection"):
        peer(_answering(wire)).request("POST", "/").read()


def test_a_peer_that_is_silent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(Unavailable, match="within the time"):
            Session(f"unix://{tmp_path}/s", timeout=0.05).request("GET", "/")


def test_an_error_ends_an_upload_that_nobody_reads(peer: Peer) -> None:
    """The engine refuses in the middle and reads no more: the client must not wait for ever."""
    refused = threading.Event()

    def part(connection: socket.socket) -> None:
        _head(connection)
        body = b'{"message":"no such Dockerfile"}'
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        refused.set()
        connection.recv(1)  # keeps the connection open until the client closes it

    def upload() -> Iterator[bytes]:
        yield b"first"
        refused.wait(10)
        while True:
            yield b"x" * CHUNK

    session = peer(part)
    with pytest.raises(InvalidArgument, match="no such Dockerfile"):
        session.request("POST", "/build", body=upload())


def test_an_answer_that_begins_early_does_not_end_an_upload(peer: Peer) -> None:
    """A load answers before it has read the archive, which is larger than what a socket holds."""
    begun = threading.Event()
    size = 40 * CHUNK

    def part(connection: socket.socket) -> None:
        data = _head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        begun.set()
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += connection.recv(CHUNK)
        connection.sendall(b'{"stream": "%d"}\n' % data.count(b"x"))

    def body() -> Iterator[bytes]:
        yield b"x" * CHUNK
        assert begun.wait(10)
        for _ in range(39):
            yield b"x" * CHUNK

    messages = list(peer(part).progress("POST", "/load", body=body()))
    assert messages == [{"stream": str(size)}]


def test_an_error_before_a_connection_is_closed(peer: Peer) -> None:
    def part(connection: socket.socket) -> None:
        _head(connection)
        connection.sendall(
            b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    def upload() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * CHUNK

    with pytest.raises(Conflict):
        peer(part).request("POST", "/", body=upload())


def test_a_stream_half_closes(peer: Peer) -> None:
    def part(connection: socket.socket) -> None:
        _head(connection)
        connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: raw\r\n\r\nearly ")
        heard = b""
        while data := connection.recv(CHUNK):
            heard += data
        connection.sendall(b"heard %d" % len(heard))

    with peer(part).hijack("/attach") as stream:
        assert b"".join(stream.communicate(b"x" * 3_000_000)) == b"early heard 3000000"


def test_a_stream_whose_reader_is_gone_still_gives_its_output(peer: Peer) -> None:
    def part(connection: socket.socket) -> None:
        _head(connection)
        connection.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        connection.shutdown(socket.SHUT_RD)
        connection.sendall(b"done")

    with peer(part).hijack("/attach") as stream:
        assert b"".join(stream.communicate(b"x" * 3_000_000)) == b"done"


# --- sessions, against a real HTTP server ---------------------------------------------------------


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi(tmp_path / "api.sock") as server:
        yield server


def test_connections_are_kept(api: FakeApi) -> None:
    api.on("GET", "/a", json=[1])
    api.on("POST", "/b", status=204)
    with Session(api.host) as session:
        for _ in range(3):
            assert session.get("/a") == [1]
            assert session.post("/b", json={"x": None}) is None
    assert api.connections == 1


def test_a_stale_connection_is_replaced(api: FakeApi) -> None:
    def last(_: object) -> Answer:
        return Answer(body=b"1", headers={"Connection": "close"})

    api.on("GET", "/a", handler=last)
    with Session(api.host) as session:
        session.open()
        assert session.get("/a") == session.get("/a") == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (409, Conflict), (400, InvalidArgument), (500, InternalError)],
)
def test_statuses_are_errors_with_the_engines_words(
    api: FakeApi, status: int, kind: type[Exception]
) -> None:
    api.fail("GET", "/x", status, "No such thing: x")
    with Session(api.host) as session, pytest.raises(kind, match=r"^No such thing: x$"):
        session.get("/x")


def test_an_error_without_json(api: FakeApi) -> None:
    api.on("GET", "/x", handler=lambda _: Answer(status=502, body=b"bad gateway"))
    with Session(api.host) as session, pytest.raises(InternalError, match="bad gateway"):
        session.get("/x")


def test_progress_comes_line_by_line(api: FakeApi) -> None:
    api.on("POST", "/p", lines=[{"status": "a"}, {"status": "b" * 200_000}])
    with Session(api.host) as session:
        assert [len(m["status"]) for m in session.progress("POST", "/p")] == [1, 200_000]


def test_an_upload_in_chunks(api: FakeApi) -> None:
    api.on("POST", "/u", json={})
    with Session(api.host) as session:
        session.request("POST", "/u", body=iter([b"a", b"", b"b" * CHUNK])).read()
    assert api.asked("POST", "/u").body == b"a" + b"b" * CHUNK


def test_queries() -> None:
    query = {"a": True, "b": None, "t": ["x:1", "y/2"], "filters": {"n": ["v"]}, "s": "ä &"}
    wanted = "?a=1&t=x:1&t=y%2F2&filters=%7B%22n%22:%5B%22v%22%5D%7D&s=%C3%A4%20%26"
    assert encode_query(query) == wanted
    assert quote("a/b:c d") == "a/b:c%20d"


def test_a_header_cannot_be_split(api: FakeApi) -> None:
    with Session(api.host) as session, pytest.raises(InternalError):
        session.request("GET", "/", headers={"X": "a\r\nEvil: b"})
    assert not api.requests
