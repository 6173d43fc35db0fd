"""The flask build of the examples, by Docker's command line on every engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.engines.base import Engine
from bench.isolation import PROXY
from bench.processes import CommandError
from bench.rows.base import Row, timed

_ARCHIVE = "BENCH_PYTHON_IMAGE"
_BASE = "python:3.11-slim"
_EXAMPLE = Path(__file__).parents[2] / "examples/flask-app"
_BUNDLE = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")

# The example's, with the host's authorities as a file: not every engine can pass them on.
_DOCKERFILE = f"""FROM {_BASE}
COPY app.py authorities.crt /app/
WORKDIR /app
RUN PIP_CERT=/app/authorities.crt pip install flask
CMD ["python", "app.py"]
"""


class Build(Row):
    """The base image comes from the archive that ``BENCH_PYTHON_IMAGE`` names."""

    rounds_at_most = 3

    def __init__(self, key: str, title: str, *, cached: bool) -> None:
        self.key, self.title = key, title
        self._cached = cached

    def suits(self, engine: Engine) -> bool:
        return shutil.which("docker") is not None and os.path.exists(_BUNDLE)

    @contextmanager
    def setting(self, engine: Engine) -> Iterator[list[str]]:
        """The command; the image it needs is there."""
        _need_base(engine)
        with tempfile.TemporaryDirectory() as directory:
            shutil.copy(_EXAMPLE / "app.py", directory)
            shutil.copy(_BUNDLE, f"{directory}/authorities.crt")
            Path(directory, "Dockerfile").write_text(_DOCKERFILE)
            proxy = f"--build-arg=HTTPS_PROXY={PROXY}"
            command = [*engine.docker(), "build", proxy, "-t", "bench-flask", directory]
            if self._cached:
                timed(command, engine)
            yield command

    def sample(self, engine: Engine, setting: object) -> float:
        assert isinstance(setting, list)
        flags = [] if self._cached else ["--no-cache"]
        return timed([*setting[:-1], *flags, setting[-1]], engine)


def _need_base(engine: Engine) -> None:
    """Load the base image, unless the engine has it."""
    inspect = [*engine.docker(), "image", "inspect", _BASE]
    if subprocess.run(inspect, check=False, capture_output=True, timeout=60).returncode == 0:
        return
    archive = os.environ.get(_ARCHIVE, "")
    if not archive:
        raise CommandError(
            f"name an archive of {_BASE} in {_ARCHIVE}, such as "
            f"'wherry bootstrap {_BASE}' and 'wherry save -o FILE {_BASE}' give"
        )
    timed([*engine.docker(), "load", "-i", archive], engine)
