"""The host's package tools: found, run, and their failures told in one sentence."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType

from wherry.bootstrap.recipes import Suite
from wherry.bootstrap.sources import Mirror
from wherry.errors import InternalError, NotFound, NotSupported, Unavailable

_APT_HELPER = "/usr/lib/apt/apt-helper"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_TIMEOUT = 120.0  # seconds, for anything but a whole bootstrap
_QUICK = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}

Lines = Callable[[str], None]


@dataclass(frozen=True)
class PackageHost:
    """``environment`` is what the engine was started with; only proxies are taken from it."""

    environment: Mapping[str, str]
    temp_dir: str | None = None  # None: the system's
    architecture: str = field(default_factory=lambda: _architecture(os.uname().machine))

    def require(self, program: str, package: str) -> None:
        """NotSupported if a program is missing, with the package that has it."""
        if shutil.which(program, path=_PATH) is None:
            raise NotSupported(
                f"{program} is needed to make base images and is not here: install it with "
                f"apt-get install {package}"
            )

    def program_environment(self, **more: str) -> dict[str, str]:
        """A plain environment for the tools, with the host's proxies."""
        base = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        if self.temp_dir:
            base["TMPDIR"] = self.temp_dir
        return {**base, **self.proxies(), **more}

    def proxies(self) -> dict[str, str]:
        """Proxy variables: apt's own configuration first, then the environment."""
        found: dict[str, str] = {}
        for name in _PROXIES:
            if value := self.environment.get(name) or self.environment.get(name.upper(), ""):
                found[name] = value
        return found | _apt_proxies()

    def run(self, *command: str, cwd: str | None = None) -> str:
        """What a program prints; InternalError with its last words if it fails."""
        done = self._finish(command, cwd)
        if done.returncode != 0:
            raise InternalError(f"{command[0]} failed: {last_words(done.stderr)}")
        return done.stdout

    def release_date(self, suite: Suite, mirror: Mirror) -> int:
        """When the suite was last published, in seconds since the epoch.

        Unavailable if the mirror is out of reach, NotFound if it lacks the suite.
        """
        self.require("apt-get", "apt")
        with tempfile.TemporaryDirectory(dir=self.temp_dir) as directory:
            path = os.path.join(directory, "InRelease")
            uri = f"{mirror.uri}/dists/{suite.codename}/InRelease"
            done = self._finish((_APT_HELPER, *_QUICK, "download-file", uri, path), None)
            if done.returncode != 0:
                raise _mirror_error(suite, mirror, done.stdout + done.stderr)
            with open(path, encoding="utf-8", errors="replace") as file:
                return _date(file.read(), uri)

    def _finish(self, command: Sequence[str], cwd: str | None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                cwd=cwd,
                env=self.program_environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{command[0]} did not end within {_TIMEOUT:.0f} s") from error


def _apt_proxies() -> dict[str, str]:
    """Proxy variables that apt's configuration has (apt-config(8)); one call for both."""
    if shutil.which("apt-config", path=_PATH) is None:
        return {}
    output = subprocess.run(
        ["apt-config", "shell", "http", "Acquire::http::Proxy", "https", "Acquire::https::Proxy"],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
    ).stdout
    settings = re.findall(r"^(https?)='(.*)'$", output, re.MULTILINE)
    return {f"{scheme}_proxy": value for scheme, value in settings if value not in ("", "DIRECT")}


def _architecture(machine: str) -> str:
    return _ARCHITECTURES.get(machine, machine)


def _mirror_error(suite: Suite, mirror: Mirror, output: str) -> Exception:
    if "404" in output:
        return NotFound(f"the package mirror {mirror.public_uri} has no release {suite.codename}")
    return Unavailable(f"cannot reach the package mirror {mirror.public_uri}: {last_words(output)}")


def last_words(output: str) -> str:
    """The line of a tool's output that says most: the last error of apt's, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E: ") and "Download Failed" not in line]
    best = (errors or lines or ["it printed nothing"])[-1]
    return re.sub(r"//[^/@\s]*@", "//", best.removeprefix("E: "))[:400]


def _date(release: str, uri: str) -> int:
    match = re.search(r"(?m)^Date: (.+)$", release)
    try:
        return int(parsedate_to_datetime(match[1]).timestamp()) if match else _no_date(uri)
    except ValueError:
        return _no_date(uri)


def _no_date(uri: str) -> int:
    raise Unavailable(f"what the mirror has at {uri} is no release file")


class ProgramStream:
    """What a program writes, as a stream whose end is reached only if the program succeeded.

    Leaving the context ends the program. Its messages go to ``lines``, one by one.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], lines: Lines
    ) -> None:
        self._name = command[0]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        self._tail: list[str] = []
        self._reader = threading.Thread(target=self._read_messages, args=(lines,), daemon=True)
        self._reader.start()

    def read(self, size: int = -1, /) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if not data and size != 0:
            self._check()
        return data

    def __enter__(self) -> ProgramStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _check(self) -> None:
        code = self._process.wait()
        self._reader.join()
        if code != 0:
            raise InternalError(f"{self._name} failed: {last_words(chr(10).join(self._tail))}")

    def _read_messages(self, lines: Lines) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._tail = [*self._tail[-49:], line]
            if line:
                lines(line)
