"""What the daemon listens on: several sockets at once, those of a service manager, guarded ones."""

from __future__ import annotations

import logging
import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from wherry.daemon.activation import BadActivation, Passed, adopt, chosen, passed_sockets
from wherry.daemon.listeners import Guarded, open_listeners, parse_guarded
from wherry.daemon.options import BadOptions, Options
from wherry.daemon.sockets import BadHost


def test_several_sockets_and_policies_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = tmp_path / "reader.toml"
    policy.write_text('mode = "read-only"\n')
    options = Options(
        hosts=(f"unix://{tmp_path}/a.sock", "tcp://127.0.0.1:0"),
        sockets=(f"{tmp_path}/b.sock,policy={policy},group={os.getgid()}",),
        insecure_tcp=True,
    )
    with caplog.at_level(logging.WARNING), ExitStack() as stack:
        found = open_listeners(options, {}, stack)
        assert [listener.policy is None for listener in found] == [True, True, False]
        assert found[2].policy is not None
        assert found[2].policy.mode == "read-only"
        assert stat.S_IMODE((tmp_path / "b.sock").stat().st_mode) == 0o660
        for name in ("a.sock", "b.sock"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / name))
    assert "without TLS" in caplog.text
    assert not list(tmp_path.glob("*.sock"))


def test_what_is_wrong_leaves_no_socket(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/a.sock"
    for options, error in (
        (Options(hosts=(host, "tcp://127.0.0.1:0")), BadHost),
        (Options(hosts=(host, "fd://")), BadActivation),
        (Options(hosts=(host,), sockets=(f"{tmp_path}/b.sock",)), BadOptions),
    ):
        with pytest.raises(error), ExitStack() as stack:
            open_listeners(options, {}, stack)
        assert not list(tmp_path.glob("*.sock"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a.sock", "has no policy"),
        ("/a.sock,policy=", "has no policy"),
        (",policy=x", "has no policy"),
        ("/a.sock,policy=x,mode=0777", "unknown option 'mode'"),
    ],
)
def test_sockets_without_a_policy_are_refused(text: str, words: str) -> None:
    with pytest.raises(BadOptions, match=words):
        parse_guarded(text)


def test_a_guarded_socket_may_be_any_host() -> None:
    assert parse_guarded("/a,policy=/p") == Guarded("unix:///a", "/p")
    assert parse_guarded("fd://ci,policy=/p,group=ci") == Guarded("fd://ci", "/p", "ci")


# --- a service manager's sockets ---------------------------------------------------------------


def test_variables_of_another_process_are_not_ours() -> None:
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "api:"}
    assert passed_sockets(environ, 8) == ()
    assert passed_sockets(environ, 7) == (Passed(3, "api"), Passed(4, ""))
    for count in ("", "x", "-1", "99999999"):
        assert passed_sockets({**environ, "LISTEN_FDS": count}, 7) == ()


def test_a_socket_is_chosen_by_number_or_name() -> None:
    passed = (Passed(3, "api"), Passed(4, "ci"))
    assert chosen(passed, "") == chosen(passed, "*") == passed
    assert chosen(passed, "4") == chosen(passed, "ci") == (Passed(4, "ci"),)
    with pytest.raises(BadActivation, match=r"fd://5 .* only 3 \(api\), 4 \(ci\)"):
        chosen(passed, "5")
    with pytest.raises(BadActivation, match="socket unit"):
        chosen((), "")


def test_what_is_no_listening_socket_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file, pytest.raises(BadActivation, match="no socket"):
        adopt(Passed(file.fileno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        with pytest.raises(BadActivation, match="neither"):
            adopt(Passed(udp.fileno()))
        assert udp.fileno() >= 0


_ACTIVATED = """
import os, socket, sys
from contextlib import ExitStack
from wherry.daemon.listeners import open_listeners
from wherry.daemon.options import Options
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
with ExitStack() as stack:
    found = open_listeners(Options(hosts=("fd://",)), os.environ, stack)
    print(found[0].name, os.get_inheritable(3), "LISTEN_FDS" in os.environ, flush=True)
    connection, _ = found[0].sock.accept()
    connection.sendall(b"served")
"""


def test_a_passed_socket_is_served_and_its_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "activated.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(path))
        listener.listen()
        client.connect(str(path))  # waits in the queue of the service manager's socket
        done = subprocess.run(
            [sys.executable, "-c", _ACTIVATED, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            env={**os.environ, "LISTEN_FDS": "1"},
            capture_output=True,
            check=False,
        )
        assert done.stdout == b"fd://3 False False\n", done.stderr
        assert client.recv(100) == b"served"
    assert path.exists()
