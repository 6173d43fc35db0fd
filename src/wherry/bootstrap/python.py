"""Python and pip on top of a distribution's image, by its own package manager."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from wherry.bootstrap.host import Lines, last_words
from wherry.bootstrap.recipes import Python
from wherry.bootstrap.sources import Mirror
from wherry.build.api import RunStep, StepRunner
from wherry.errors import InternalError, NotFound
from wherry.model.container import ContainerConfig, HostConfig, MountRequest
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Image, Images, LayerRecord

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SOURCES = "/run/wherry/sources.list"
_VERSIONS = "wherry-versions: "
_PACKAGES = ("python3", "python3-pip", "python3-venv", "ca-certificates")
_COMPILER = ("build-essential", "python3-dev")

# Run by sh with the packages as arguments. pip may install system-wide here: the image is the
# environment, and there is nobody else in it.
_SCRIPT = """
set -eu
options="-q -o Dir::Etc::sourcelist=$SOURCES -o Dir::Etc::sourceparts=-"
options="$options -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Dpkg::Use-Pty=0"
if [ -n "${SSL_CERT_FILE:-}" ]; then
    options="$options -o Acquire::https::CAInfo=$SSL_CERT_FILE"
fi
apt-get $options update
apt-get $options install -y --no-install-recommends "$@"
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
mkdir -p /usr/local/bin
for name in python python3 "python$version"; do
    ln -sf /usr/bin/python3 "/usr/local/bin/$name"
done
for name in pip pip3 "pip$version"; do
    ln -sf /usr/bin/pip3 "/usr/local/bin/$name"
done
apt-get clean
rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
rm -rf /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
dpkg-query -W -f='wherry-versions: ${Package}=${Version}\\n' python3 python3-pip
"""


class PythonLayer:
    """Makes the layer. The step uses the host's network, proxies and authorities; none of that
    stays in the image."""

    def __init__(
        self,
        images: Images,
        snapshots: Snapshotter,
        runner: StepRunner,
        proxies: Mapping[str, str],
        temp_dir: str | None,
    ) -> None:
        self._images = images
        self._snapshots = snapshots
        self._runner = runner
        self._proxies = proxies
        self._temp_dir = temp_dir

    def build(
        self, recipe: Python, base: Image, mirror: Mirror, lines: Lines
    ) -> tuple[LayerRecord, tuple[str, ...]]:
        """The layer on ``base``, and ``package=version`` of what it is about."""
        key = f"bootstrap-{secrets.token_hex(8)}"
        output = _Output(lines)
        self._snapshots.prepare(key, base.chain_id)
        try:
            mountpoints = self._run(key, recipe, mirror, output)
            record = self._images.commit_layer(key, exclude=mountpoints)
        except BaseException:
            with suppress(NotFound):
                self._snapshots.remove(key)
            raise
        if record is None:
            raise InternalError("installing Python changed nothing")
        return record, tuple(output.versions)

    def _run(self, key: str, recipe: Python, mirror: Mirror, output: _Output) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory(dir=self._temp_dir) as directory:
            sources = Path(directory, "sources.list")
            sources.write_text("".join(f"{e}\n" for e in mirror.entries(recipe.base.suite)))
            os.chmod(sources, 0o644)
            step = self._step(key, recipe, mirror, str(sources))
            outcome = self._runner.run(step, output, threading.Event())
        output.end()
        if outcome.exit_code != 0:
            raise InternalError(
                f"installing Python ended with code {outcome.exit_code}: {output.last_words()}"
            )
        return outcome.created_mountpoints

    def _step(self, key: str, recipe: Python, mirror: Mirror, sources: str) -> RunStep:
        packages = _PACKAGES if recipe.base.slim else (*_PACKAGES, *_COMPILER)
        environment = {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "SOURCES": _SOURCES,
            **self._proxies,
        }
        config = ContainerConfig(
            cmd=("/bin/sh", "-c", _SCRIPT, "sh", *packages),
            env=tuple(f"{name}={value}" for name, value in environment.items()),
            user="root",
            working_dir="/",
        )
        binds = [(sources, _SOURCES), *((path, path) for path in mirror.local_directories)]
        mounts = tuple(
            MountRequest(type="bind", source=source, target=target, read_only=True)
            for source, target in binds
        )
        host = HostConfig(network_mode="host", mounts=mounts)
        return RunStep(
            id=secrets.token_hex(32), snapshot=key, config=config, host=host, host_ca=True
        )


class _Output:
    """Cuts what a step prints into lines, passes them on, and finds the versions."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rest = b""
        self._tail: list[str] = []
        self.versions: list[str] = []

    def __call__(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for raw in whole:
            self._line(raw.decode(errors="replace").rstrip())

    def end(self) -> None:
        self("stdout", b"\n")

    def last_words(self) -> str:
        return last_words("\n".join(self._tail))

    def _line(self, line: str) -> None:
        if line.startswith(_VERSIONS):
            self.versions.append(line.removeprefix(_VERSIONS))
        elif line:
            self._tail = [*self._tail[-49:], line]
            self._lines(line)
