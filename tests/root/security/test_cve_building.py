"""Attacks by a Dockerfile and its steps on the machine that builds."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from tests.root.engine.conftest import TestEngine

from wherry.build.api import BuildRequest, StepOutput
from wherry.errors import WherryError

pytestmark = pytest.mark.root

Build = Callable[..., str]


@pytest.fixture
def build(engine: TestEngine) -> Iterator[Build]:
    """Builds a Dockerfile's text and returns what its steps print; nothing of it stays."""

    def run(text: str) -> str:
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            member = tarfile.TarInfo("Dockerfile")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        context.seek(0)
        printed: list[bytes] = []

        def note(event: object) -> None:
            if isinstance(event, StepOutput):
                printed.append(event.data)

        request = BuildRequest(network_mode="none", no_cache=True)
        engine.engine.builds.build(request, context, note, Event())
        return b"".join(printed).decode()

    yield run
    engine.engine.builds.prune(every=True)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host's with a secret and an empty file."""
    (tmp_path / "secret").write_text("of the host")
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.mark.parametrize(
    "kind", ["cache,source=way", "cache,from=base,source=way", "bind,from=base,source=/way"]
)
def test_cve_2024_23651_a_mounts_source_is_a_link(build: Build, outside: Path, kind: str) -> None:
    """A source below a cache or a stage that is a link to the host at the moment of its mount."""
    text = f"""
        FROM busybox AS base
        RUN --mount=type=cache,id=shared,target=/c ln -sfn {outside} /c/way; ln -sfn {outside} /way
        FROM busybox
        RUN --mount=type={kind},target=/m cat /m/secret || ls -laR /m; echo done
    """
    try:
        printed = build(text)
    except WherryError:
        return
    assert "of the host" not in printed


def test_cve_2024_23652_what_is_cleaned_up_is_inside(build: Build, outside: Path) -> None:
    """The mountpoint that a step got is removed after it; meanwhile its parent became a link."""
    text = f"""
        FROM busybox
        RUN --mount=type=tmpfs,target=/new/empty --mount=type=tmpfs,target=/new/gone \\
            umount /new/empty; mv /new /old; rm -rf /new; ln -s {outside} /new; ls -la /
        RUN ls -la /new /old; echo done
    """
    printed = build(text)
    assert "done" in printed
    assert sorted(path.name for path in outside.iterdir()) == ["empty", "secret"]


def test_cve_2024_23653_a_step_gives_itself_no_privileges(build: Build) -> None:
    """Without being allowed to by the caller a Dockerfile asks for an insecure step."""
    with pytest.raises(WherryError):
        build("FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status\n")
    printed = build("FROM busybox\nRUN grep CapEff /proc/self/status\n")
    assert "a80425fb" in printed
