"""From a name to a base image in the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from wherry.bootstrap import busybox, distribution
from wherry.bootstrap.host import Lines, PackageHost
from wherry.bootstrap.python import PATH, PythonLayer
from wherry.bootstrap.recipes import (
    Busybox,
    Distribution,
    Plan,
    Python,
    Recipe,
    Suite,
    plan,
    recipes,
)
from wherry.bootstrap.sources import Mirror, find_mirror, read_sources
from wherry.build.api import StepRunner
from wherry.errors import NotFound
from wherry.model.image import ExecConfig, History, ImageConfig, RootFs
from wherry.model.reference import Reference
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Image, Images, LayerRecord

_NEWS = re.compile(r"I: [a-z]+ing (?!.*(hook|tempdir|as requested|value))|[EW]: |Err:|Setting up ")
_LABEL = "org.wherry.bootstrap"

Progress = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class _Made:
    """What a recipe came to: the layers above the base, and what to say of them."""

    layers: tuple[LayerRecord, ...]
    cmd: tuple[str, ...]
    epoch: int
    source: str
    packages: Sequence[str]
    env: tuple[str, ...] = ()
    base: Image | None = None


_COMMENT = "wherry.bootstrap.v0"


class Bootstrapper:
    """Makes base images. Synchronous, takes from a second to minutes, needs root.

    ``environment`` is the engine's, for its proxies. Errors: NotFound (no such recipe or release),
    NotSupported (a tool or key is missing, with the package to install), Unavailable (the mirror
    is out of reach), InternalError (a tool failed, with its last words).
    """

    def __init__(
        self,
        images: Images,
        snapshots: Snapshotter,
        runner: StepRunner,
        *,
        environment: Mapping[str, str],
        temp_dir: str | None = None,
        apt_directory: Path = Path("/etc/apt"),
    ) -> None:
        self._images = images
        self._snapshots = snapshots
        self._runner = runner
        self._host = PackageHost(environment, temp_dir)
        self._apt_directory = apt_directory

    def list(self) -> tuple[Recipe, ...]:
        """What can be made here, with one line about each."""
        return tuple(recipes())

    def bootstrap(self, name: str, progress: Progress) -> Image:
        """Make an image and give it the name; ``progress`` gets ``{"status": LINE}``.

        The image below (``debian:bookworm-slim`` of ``python:3.11-slim``) is made as well if
        there is none of its name.
        """
        with self._images.lease():
            return self._make(plan(name), lambda line: progress({"status": line}))

    def _make(self, asked: Plan, lines: Lines) -> Image:
        match asked:
            case Busybox():
                made = self._busybox(lines)
            case Distribution():
                made = self._distribution(asked, lines)
            case Python():
                made = self._python(asked, lines)
        return self._add(asked.reference, made)

    def _busybox(self, lines: Lines) -> _Made:
        program = busybox.find_program(self._host, lines)
        record = self._images.apply_layer(
            busybox.layer(program), parent=None, expected_diff_id=None
        )
        package = f"busybox-static={program.version}"
        source = "the host's distribution"
        return _Made((record,), ("sh",), program.mtime, source, (package,))

    def _distribution(self, recipe: Distribution, lines: Lines) -> _Made:
        mirror = self._mirror(recipe.suite)
        epoch = self._host.release_date(recipe.suite, mirror)
        lines(f"making {recipe.reference.familiar} from {mirror.public_uri}")
        with distribution.built(self._host, recipe, mirror, epoch, news(lines)) as (
            stream,
            versions,
        ):
            record = self._images.apply_layer(
                cast(BinaryIO, stream), parent=None, expected_diff_id=None
            )
            packages = versions.read_text().split()
        source = _source(recipe.suite, mirror)
        env = (f"PATH={PATH}",)
        return _Made((record,), ("bash",), epoch, source, packages, env)

    def _python(self, recipe: Python, lines: Lines) -> _Made:
        mirror = self._mirror(recipe.base.suite)
        epoch = self._host.release_date(recipe.base.suite, mirror)
        base = self._base(recipe.base, lines)
        lines(f"installing Python {recipe.base.suite.python} on {recipe.base.reference.familiar}")
        layer = PythonLayer(
            self._images,
            self._snapshots,
            self._runner,
            self._host.proxies(),
            self._host.temp_dir,
        )
        record, packages = layer.build(recipe, base, mirror, news(lines))
        source = _source(recipe.base.suite, mirror)
        env = (f"PATH={PATH}", "LANG=C.UTF-8")
        return _Made((record,), ("python3",), epoch, source, packages, env, base)

    def _base(self, recipe: Distribution, lines: Lines) -> Image:
        try:
            return self._images.get(str(recipe.reference))
        except NotFound:
            return self._make(recipe, lines)

    def _mirror(self, suite: Suite) -> Mirror:
        return find_mirror(suite, read_sources(self._apt_directory), self._host.architecture)

    def _add(self, reference: Reference, made: _Made) -> Image:
        below = made.base.layers if made.base else ()
        layers = (*below, *made.layers)
        config = _config(reference, made, layers, self._host.architecture)
        return self._images.add(
            msgspec.json.encode(config),
            layers,
            references=(reference,),
            parent=made.base.id if made.base else None,
        )


def news(lines: Lines) -> Lines:
    """Of a tool's messages, those that tell a user how far it is, and the errors."""

    def filtered(line: str) -> None:
        if _NEWS.match(line):
            lines(line)

    return filtered


def _source(suite: Suite, mirror: Mirror) -> str:
    return f"{suite.distribution} {suite.version} ({suite.codename}) from {mirror.public_uri}"


def _config(
    reference: Reference, made: _Made, layers: Sequence[LayerRecord], architecture: str
) -> ImageConfig:
    created = datetime.fromtimestamp(made.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made_by = f"wherry bootstrap {reference.familiar}"
    step = History(created=created, created_by=made_by, comment=_COMMENT)
    history = (*(made.base.config.history if made.base else ()), step)
    return ImageConfig(
        architecture=architecture,
        os="linux",
        created=created,
        rootfs=RootFs(diff_ids=tuple(layer.diff_id for layer in layers)),
        config=ExecConfig(cmd=made.cmd, env=made.env or None, labels=_labels(made)),
        history=history,
    )


def _labels(made: _Made) -> dict[str, str]:
    labels = {
        f"{_LABEL}.source": made.source,
        f"{_LABEL}.packages": " ".join(made.packages),
    }
    if made.base:
        names = made.base.references
        labels["org.opencontainers.image.base.name"] = names[0] if names else made.base.id
    return labels
