"""A minimal Debian or Ubuntu by mmdebstrap, streamed from its standard output."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.bootstrap.host import Lines, PackageHost, ProgramStream
from wherry.bootstrap.recipes import Distribution
from wherry.bootstrap.sources import Mirror
from wherry.bootstrap.trees import Node, tar_of

_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
_NOTABLE = ("base-files", "libc6", "apt")  # packages whose versions are labelled

_SLIM = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
_UNSAFE_IO = "force-unsafe-io"  # an image is whole or not at all: no need to sync each file

# Its own settings make way for the image's, which hide the caches from its own cleaning.
_REMOVE = (
    'cd "$1" && rm -rf etc/apt/apt.conf.d/99mmdebstrap etc/dpkg/dpkg.cfg.d/99mmdebstrap '
    "var/cache/apt/*.bin var/cache/apt/archives/*.deb"
)

# No service is started while packages are installed: there is no init to start it.
_POLICY = b"#!/bin/sh\nexit 101\n"

# Named as in Docker's images, since Dockerfiles remove it to keep what apt has fetched.
_CLEAN = b"""// Keep neither packages nor caches in a layer.
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
_SMALL_INDEXES = b"""Acquire::Languages "none";
Acquire::GzipIndexes "true";
"""


@contextmanager
def built(
    host: PackageHost, recipe: Distribution, mirror: Mirror, epoch: int, lines: Lines
) -> Iterator[tuple[ProgramStream, Path]]:
    """The system's tar stream, and a file that holds versions once the stream has ended.

    ``epoch``: no file is younger, in seconds since 1970. Reading raises InternalError if
    mmdebstrap fails.
    """
    host.require("mmdebstrap", "mmdebstrap")
    with tempfile.TemporaryDirectory(dir=host.temp_dir) as directory:
        extras = Path(directory, "extras.tar")
        versions = Path(directory, "versions")
        extras.write_bytes(tar_of(_extras(recipe, mirror), epoch))
        command = _command(recipe, mirror, extras, versions)
        environment = host.program_environment(SOURCE_DATE_EPOCH=str(epoch))
        with ProgramStream(command, environment, lines) as stream:
            yield stream, versions


def _command(recipe: Distribution, mirror: Mirror, extras: Path, versions: Path) -> tuple[str, ...]:
    query = "chroot \"$1\" dpkg-query -W -f='${Package}=${Version}\\n' " + " ".join(_NOTABLE)
    return (
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=tar",
        "--skip=output/dev",
        f"--keyring={mirror.keyring}",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "2"',
        f"--dpkgopt={_UNSAFE_IO}",
        *(f"--dpkgopt={option}" for option in (_SLIM if recipe.slim else ())),
        *_merged_usr(recipe),
        f"--customize-hook={query} >{shlex.quote(str(versions))}",
        f"--customize-hook={_REMOVE}",
        f"--customize-hook=tar-in {shlex.quote(str(extras))} /",
        recipe.suite.codename,
        "-",
        *mirror.entries(recipe.suite),
    )


def _merged_usr(recipe: Distribution) -> tuple[str, ...]:
    """Make the links of /usr first; otherwise the package ``usrmerge`` brings all of Perl."""
    if recipe.suite.codename == "bullseye" or not os.path.isdir(_MERGED_USR):
        return ()
    return (f"--hook-dir={_MERGED_USR}", "--include=usr-is-merged")


def _extras(recipe: Distribution, mirror: Mirror) -> Iterator[Node]:
    dpkg = [_UNSAFE_IO, *(_SLIM if recipe.slim else ())]
    sources = mirror.public_entries(recipe.suite)
    yield Node("usr/sbin/policy-rc.d", _POLICY, 0o755)
    yield Node("etc/apt/apt.conf.d/docker-clean", _CLEAN, 0o644)
    yield Node("etc/apt/apt.conf.d/small-indexes", _SMALL_INDEXES, 0o644)
    yield Node("etc/dpkg/dpkg.cfg.d/wherry", _lines(dpkg), 0o644)
    yield Node("etc/apt/sources.list", _lines(sources), 0o644)


def _lines(lines: list[str] | tuple[str, ...]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
