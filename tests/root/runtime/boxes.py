"""Containers for tests: specifications like the engine's, on a small tree, and what they print."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tests.patience import patience

from wherry.model.runtime_spec import (
    OCI_VERSION,
    Capabilities,
    Linux,
    LinuxNamespace,
    Mount,
    Process,
    Root,
    Spec,
)
from wherry.runtime.api import ExecRequest, ExitStatus, StartRequest
from wherry.runtime.client import LauncherRuntime, MonitoredProcess
from wherry.snapshot.api import OverlayMount

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
NAMESPACES = ("mount", "pid", "ipc", "uts", "cgroup", "network")
MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware", "/nosuch")
READONLY = ("/proc/sys", "/proc/sysrq-trigger", "/nosuch")
APPLETS = """
    cat chmod dd echo env false grep head hostname id kill ln ls mkdir mkfifo mount nc printf
    ps pwd readlink seq sh sleep stat stty tail test touch true tty umount uname wc whoami yes
""".split()
PATIENCE = patience(20.0)


def _mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    return Mount(destination=destination, type=kind, source=source, options=options)


MOUNTS = (
    _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
    _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
    _mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro"),
    _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777"),
)


@dataclass
class Result:
    """What a container printed and how it ended."""

    stdout: bytes
    stderr: bytes
    status: ExitStatus
    process: MonitoredProcess

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode().splitlines()

    @property
    def code(self) -> int:
        return self.status.code


@dataclass
class Box:
    """Starts containers below one directory."""

    directory: Path
    layer: Path
    runtime: LauncherRuntime
    prefix: str
    count: int = 0
    started: list[MonitoredProcess] = field(default_factory=list)

    def spec(self, *args: str, **changes: Any) -> Spec:
        """A specification like the engine's; ``process_x`` and ``linux_x`` change sections."""
        sections: dict[str, dict[str, Any]] = {"process": {}, "linux": {}}
        for name in list(changes):
            section, _, key = name.partition("_")
            if section in sections:
                sections[section][key] = changes.pop(name)
        process = {
            "cwd": "/",
            "args": args,
            "env": ("PATH=/bin", "A=1"),
            "capabilities": Capabilities(
                bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES
            ),
        }
        linux = {
            "namespaces": tuple(LinuxNamespace(type=kind) for kind in NAMESPACES),
            "masked_paths": MASKED,
            "readonly_paths": READONLY,
        }
        whole = {
            "oci_version": OCI_VERSION,
            "root": Root(path="rootfs"),
            "hostname": "box",
            "mounts": MOUNTS,
        }
        return Spec(
            **whole
            | changes
            | {
                "process": Process(**process | sections["process"]),
                "linux": Linux(**linux | sections["linux"]),
            }
        )

    def request(self, spec: Spec, **fields: Any) -> StartRequest:
        """A bundle for ``spec`` on a writable layer of its own."""
        self.count += 1
        name = f"{self.prefix}-{self.count}"
        bundle = self.directory / name
        for part in ("rootfs", "upper", "work"):
            (bundle / part).mkdir(parents=True)
        linux = msgspec.structs.replace(
            spec.linux or Linux(), cgroups_path=f"/{self.prefix}/{name}"
        )
        spec = msgspec.structs.replace(spec, linux=linux)
        (bundle / "config.json").write_bytes(msgspec.json.encode(spec))
        overlay = OverlayMount(
            lower=(str(self.layer),), upper=str(bundle / "upper"), work=str(bundle / "work")
        )
        base = {"id": name, "bundle": str(bundle), "state_dir": str(bundle / "state")}
        return StartRequest(**{**base, "rootfs": overlay} | fields)

    def start(self, *args: str, fds: tuple[int, ...] = (), **options: Any) -> MonitoredProcess:
        """Start a container. Options of the request are known by name, others are the spec's."""
        known = set(StartRequest.__struct_fields__)
        fields = {name: options.pop(name) for name in list(options) if name in known}
        return self.keep(
            self.runtime.start(self.request(self.spec(*args, **options), **fields), fds)
        )

    def keep(self, process: MonitoredProcess) -> MonitoredProcess:
        self.started.append(process)
        return process

    def run(self, *args: str, stdin: bytes | None = None, **options: Any) -> Result:
        """Start a container with a client attached from the start, and wait for its end."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                if stdin is not None:
                    options |= {
                        "open_stdin": True,
                        "stdin_once": True,
                        "attach_streams": (True, True, True),
                    }
                process = self.start(*args, attach=True, fds=(theirs.fileno(),), **options)
            if stdin is not None:
                ours.sendall(stdin)
                ours.shutdown(socket.SHUT_WR)
            stdout, stderr = split(read_all(ours), raw=bool(options.get("process_terminal")))
        return Result(stdout, stderr, wait(process), process)

    def exec(self, process: MonitoredProcess, *args: str, **changes: Any) -> Result:
        """Run one more process in the container of ``process``."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                request = self.exec_request(process, *args, attach=True, **changes)
                inner = self.keep(self.runtime.exec(request, [theirs.fileno()]))
            stdout, stderr = split(read_all(ours), raw=bool(changes.get("terminal")))
        return Result(stdout, stderr, wait(inner), inner)

    def exec_request(self, process: MonitoredProcess, *args: str, **changes: Any) -> ExecRequest:
        known = set(ExecRequest.__struct_fields__)
        fields = {name: changes.pop(name) for name in list(changes) if name in known}
        self.count += 1
        section = self.spec(*args, **{f"process_{name}": v for name, v in changes.items()}).process
        number = self.started.index(process)
        bundle = self.directory / f"{self.prefix}-{self._number(process, number)}"
        base = {
            "id": f"{self.prefix}-{self.count}",
            "container_id": bundle.name,
            "container_pid": process.pid,
            "container_state_dir": str(bundle / "state"),
            "state_dir": str(self.directory / f"exec-{self.count}"),
            "process": msgspec.Raw(msgspec.json.encode(section)),
        }
        return ExecRequest(**base | fields)

    def _number(self, process: MonitoredProcess, default: int) -> int:
        for path in self.directory.glob(f"{self.prefix}-*/state/state.json"):
            if msgspec.json.decode(path.read_bytes())["pid"] == process.pid:
                return int(path.parent.parent.name.rpartition("-")[2])
        return default

    def bundle(self) -> Path:
        """The directory of the container that was started last."""
        return self.directory / f"{self.prefix}-{self.count}"

    def stop_all(self) -> None:
        for process in self.started:
            try:
                process.signal(9)
            except Exception:  # noqa: BLE001 - it has ended
                continue
            wait(process)


def wait(process: MonitoredProcess) -> ExitStatus:
    """How a process ends."""
    ended = threading.Event()
    found: list[ExitStatus] = []

    def note(status: ExitStatus) -> None:
        found.append(status)
        ended.set()

    process.on_exit(note)
    assert ended.wait(PATIENCE), "the process did not end"
    return found[0]


def read_all(sock: socket.socket) -> bytes:
    """Everything until the end of file."""
    sock.settimeout(PATIENCE)
    data = b""
    while block := sock.recv(1 << 16):
        data += block
    return data


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    """What comes, up to and with ``wanted``."""
    sock.settimeout(PATIENCE)
    data = b""
    while wanted not in data:
        block = sock.recv(1 << 16)
        assert block, f"the stream ended after {data!r}"
        data += block
    return data


def split(data: bytes, *, raw: bool = False) -> tuple[bytes, bytes]:
    """Standard output and error out of Docker's frames."""
    if raw:
        return data, b""
    streams = {1: b"", 2: b""}
    while data:
        stream, length = struct.unpack(">BxxxI", data[:8])
        streams[stream] += data[8 : 8 + length]
        data = data[8 + length :]
    return streams[1], streams[2]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the condition never became true")
