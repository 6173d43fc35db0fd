"""TLS: who is let in, and streams whose halves end apart, with this project's client and Python's
own TLS as the other side."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Authority, new_authority
from tests.patience import patience

from wherry.api.http.hangup import HangupWatch
from wherry.api.http.message import Answer, Reply, Request, Stream
from wherry.api.http.relay import Relay
from wherry.client.session import Session
from wherry.client.tls import TlsFiles, files_from
from wherry.daemon.tls import BadTls, server_context
from wherry.errors import InvalidArgument, Unavailable

_PATIENCE = patience(10.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = new_authority(tmp_path_factory.mktemp("ca"))
    made.sign("engine")
    made.sign("client")
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority."""
    made = new_authority(tmp_path_factory.mktemp("stranger"))
    made.sign("client")
    return made


def _server(authority: Authority, *, verify: bool = True) -> ssl.SSLContext:
    return server_context(
        certificate=f"{authority.directory}/engine.pem",
        key=f"{authority.directory}/engine-key.pem",
        authority=authority.certificate if verify else "",
        verify=verify,
    )


def _files(authority: Authority, client: Authority | None = None) -> TlsFiles:
    own = (client or authority).directory
    return TlsFiles(authority.certificate, f"{own}/client.pem", f"{own}/client-key.pem")


class _Handler:
    """Answers by path; ``/attach`` is joined to :attr:`far`."""

    def __init__(self) -> None:
        self.far, self._near = socket.socketpair()
        self.far.settimeout(_PATIENCE)
        self.ended = threading.Event()
        self._watch = HangupWatch()

    async def __call__(self, request: Request) -> Answer:
        if request.path == "/attach":
            return await self._attach(request)
        if request.path == "/endless":
            return await self._endless(request)
        body = await request.body.read_all(1 << 24)
        return Reply(200, body or b"hello", "text/plain")

    async def _attach(self, request: Request) -> Answer:
        async def engine() -> socket.socket:
            return self._near

        try:
            relay = Relay(self._watch, accept_input=True)
            await relay.run(request.wire, b"HTTP/1.1 101 UPGRADED\r\n\r\n", engine)
        finally:
            self.ended.set()
        return None

    async def _endless(self, request: Request) -> Answer:
        stream = Stream(request, content_type="text/plain", headers={})
        try:
            while True:
                await stream.write(b"x" * 4096)
                await asyncio.sleep(0)
        finally:
            self.ended.set()

    def close(self) -> None:
        self._watch.close()
        self.far.close()
        self._near.close()


Serve = Callable[..., Any]


@pytest.fixture
def handler(serve: Serve, authority: Authority) -> tuple[Any, _Handler]:
    made: list[_Handler] = []

    def make() -> _Handler:
        made.append(_Handler())
        return made[0]

    running = serve(make, tls=_server(authority))
    return running, made[0]


def _session(running: Any, files: TlsFiles) -> Session:
    return Session(f"tcp://127.0.0.1:{running.port}", timeout=_PATIENCE, tls=files)


# --- who is let in -----------------------------------------------------------------------------


def test_a_client_with_a_certificate_is_answered_again_and_again(
    handler: Any, authority: Authority
) -> None:
    with _session(handler[0], _files(authority)) as session:
        assert session.request("GET", "/").read() == b"hello"
        body = bytes(range(256)) * 8192
        assert session.request("POST", "/", body=body).read() == body
        pieces = iter([b"a" * 70_000, b"b"])
        assert session.request("POST", "/", body=pieces).read() == b"a" * 70_000 + b"b"
    handler[0].until(lambda: handler[0].connections == 0)


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_a_good_certificate_nothing_is_answered(
    handler: Any, authority: Authority, stranger: Authority, who: str
) -> None:
    files = TlsFiles(authority.certificate) if who == "nobody" else _files(authority, stranger)
    with pytest.raises(Unavailable), _session(handler[0], files) as session:
        session.request("GET", "/")
    assert handler[0].connections == 0  # no request was ever parsed


def test_plain_http_and_noise_are_cut_off(handler: Any) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 600, b"\0" * 100):
        with closing(socket.create_connection(("127.0.0.1", handler[0].port))) as client:
            client.settimeout(_PATIENCE)
            client.sendall(data)
            try:
                answer = client.recv(65536)
            except ConnectionResetError:
                answer = b""
            assert b"HTTP" not in answer


def test_an_engine_that_is_not_who_it_should_be(handler: Any, stranger: Authority) -> None:
    with (
        pytest.raises(Unavailable, match="certificate"),
        closing(_session(handler[0], _files(stranger))) as session,
    ):
        session.open()
    careless = TlsFiles(
        certificate=f"{stranger.directory}/client.pem",
        key=f"{stranger.directory}/client-key.pem",
        verify=False,
    )
    with pytest.raises(Unavailable), _session(handler[0], careless) as session:
        session.request("GET", "/")


def test_without_verification_everybody_is_let_in(serve: Serve, authority: Authority) -> None:
    running = serve(_Handler, tls=_server(authority, verify=False))
    with _session(running, TlsFiles(authority.certificate)) as session:
        assert session.request("GET", "/").read() == b"hello"


# --- streams -----------------------------------------------------------------------------------


def _wrapped(running: Any, authority: Authority) -> ssl.SSLSocket:
    link = socket.create_connection(("127.0.0.1", running.port))
    link.settimeout(_PATIENCE)
    return _files(authority).context().wrap_socket(link, server_hostname="127.0.0.1")


def _recv(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return data


def test_the_client_ends_its_half_and_reads_on(handler: Any, authority: Authority) -> None:
    running, made = handler
    with _session(running, _files(authority)) as session:
        stream = session.hijack("/attach")
        stream.send(b"question")
        assert _recv(made.far, 8) == b"question"
        stream.close_write()
        assert made.far.recv(1) == b""
        answer = b"answer" * 100_000
        threading.Thread(target=_send_and_end, args=(made.far, answer)).start()
        found = b""
        while piece := stream.recv():
            found += piece
        assert found == answer
        stream.close()
    assert made.ended.wait(_PATIENCE)


def _send_and_end(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_the_engine_ends_its_half_first(handler: Any, authority: Authority) -> None:
    """The alert comes, and the connection is still there for what the client sends."""
    running, made = handler
    with _wrapped(running, authority) as client:
        client.sendall(b"POST /attach HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _recv(client, 25) == b"HTTP/1.1 101 UPGRADED\r\n\r\n"
        made.far.sendall(b"last words")
        made.far.shutdown(socket.SHUT_WR)
        assert _recv(client, 10) == b"last words"
        assert client.recv(1) == b""
        client.sendall(b"too late")
        client.unwrap()
    assert made.ended.wait(_PATIENCE)


def test_more_than_all_buffers_hold_in_both_directions(handler: Any, authority: Authority) -> None:
    running, made = handler
    data = bytes(range(251)) * 40_000

    def echo() -> None:
        while piece := made.far.recv(65536):
            made.far.sendall(piece)
        made.far.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=echo)
    with _session(running, _files(authority)) as session, session.hijack("/attach") as stream:
        thread.start()
        assert b"".join(stream.communicate(data)) == data
    thread.join(_PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("how", ["close_notify", "cut"])
@pytest.mark.parametrize("path", ["/attach", "/endless"])
def test_a_client_that_goes_ends_its_stream(
    handler: Any, authority: Authority, path: str, how: str
) -> None:
    running, made = handler
    client = _wrapped(running, authority)
    client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert client.recv(4)
    if how == "close_notify":
        with suppress(ssl.SSLError, OSError):  # data may be on its way
            client.unwrap()
    client.close()
    assert made.ended.wait(_PATIENCE)
    running.until(lambda: running.connections == 0)


# --- files and options -------------------------------------------------------------------------


def test_what_the_environment_asks_for(authority: Authority, tmp_path: Path) -> None:
    assert files_from({"DOCKER_CERT_PATH": str(authority.directory)}) is None
    found = files_from({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(authority.directory)})
    assert found == TlsFiles(authority.certificate, "", "", True)
    assert files_from({"DOCKER_TLS": "1", "HOME": str(tmp_path)}) == TlsFiles(verify=False)


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="TLS files"):
        TlsFiles(f"{tmp_path}/absent").context()
    engine = f"{authority.directory}/engine.pem"
    for certificate, key, ca, words in (
        ("", "", "", "needs the engine's own certificate"),
        (engine, f"{tmp_path}/absent", "", "cannot be read"),
        (engine, f"{authority.directory}/client-key.pem", "", "cannot be used"),
        (engine, f"{authority.directory}/engine-key.pem", "", "needs --tlscacert"),
    ):
        with pytest.raises(BadTls, match=words):
            server_context(
                certificate=certificate, key=key, authority=ca, verify="tlscacert" in words
            )
