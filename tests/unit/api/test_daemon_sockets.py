"""Listening sockets, locks and the pid file, on real files."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.daemon.locks import locked_root, pid_file
from wherry.daemon.sockets import BadHost, bind, release
from wherry.errors import Conflict


def test_a_unix_socket_is_for_its_group_only(tmp_path: Path) -> None:
    path = tmp_path / "run" / "w.sock"
    before = os.umask(0)
    try:
        sock = bind(f"unix://{path}", group=str(os.getgid()))
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getgid())
    release(sock, str(path))
    assert not path.exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "w.sock"
    first = bind(f"unix://{path}")
    first.listen()
    with pytest.raises(Conflict, match="another engine listens"):
        bind(f"unix://{path}")
    first.close()
    second = bind(f"unix://{path}")
    release(second, str(path))


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "w.sock"
    path.write_text("precious")
    with pytest.raises(BadHost, match="no socket"):
        bind(f"unix://{path}")
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("/run/x.sock", "no scheme"),
        ("unix://relative", "must be absolute"),
        ("vsock://1", "unknown scheme"),
        ("npipe://x", "unknown scheme"),
        ("tcp://127.0.0.1:port", "not a number"),
        ("tcp://127.0.0.1:70000", "not a number"),
        ("tcp://no.such.name.invalid:1", "cannot be resolved"),
        ("unix://" + "/x" * 80, "cannot listen"),
    ],
)
def test_hosts_that_are_refused(host: str, words: str) -> None:
    with pytest.raises(BadHost, match=words):
        bind(host, tls=True)


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:0", "tcp://0.0.0.0:0", "tcp://[::]:0"])
def test_tcp_without_tls_is_asked_for_by_name(host: str) -> None:
    with pytest.raises(BadHost, match="everybody who can reach it"):
        bind(host)


def test_an_unknown_group(tmp_path: Path) -> None:
    with pytest.raises(BadHost, match="'nosuchgroup' for the socket does not exist"):
        bind(f"unix://{tmp_path}/w.sock", group="nosuchgroup")
    assert not (tmp_path / "w.sock").exists()


def test_tcp_with_tls_or_when_it_is_asked_for() -> None:
    with bind("tcp://127.0.0.1:0", tls=True) as sock:
        assert sock.family == socket.AF_INET
    with bind("tcp://0.0.0.0:0", insecure_tcp=True) as sock:
        assert sock.getsockname()[0] == "0.0.0.0"


_HOLD = """
import sys
from wherry.daemon.locks import locked_root
with locked_root(sys.argv[1], "data root"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_root_has_one_engine_and_is_free_after_its_death(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "root")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    words = rf"another engine \(process {process.pid}\) uses the data root"
    with pytest.raises(Conflict, match=words), locked_root(str(tmp_path / "root"), "data root"):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked_root(str(tmp_path / "root"), "data root"):
        assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o711


def test_a_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    """Monitors are descendants of the engine and outlive it."""
    with locked_root(str(tmp_path), "data root"):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        probe = (
            "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        )
        subprocess.run([sys.executable, "-c", probe, str(tmp_path / "daemon.lock")], check=True)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pid"
    path.write_text("999999999\n")  # of a process that is gone
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()
    path.write_text("1\n")
    with pytest.raises(Conflict, match="names process 1"), pid_file(str(path)):
        pass
    assert path.read_text() == "1\n"
