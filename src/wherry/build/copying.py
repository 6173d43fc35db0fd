"""COPY and ADD: put sources into the tree of an image."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat

import msgspec

from wherry.build.api import CopyFailed
from wherry.build.archives import is_archive
from wherry.build.config import joined
from wherry.build.instructions import Copy
from wherry.build.owners import parse_chmod, parse_chown
from wherry.build.patterns import Patterns
from wherry.build.roots import DIRECTORY, closing, make_directories, open_in, reopen
from wherry.build.sources import Source, Sources
from wherry.build.trees import Check, Copier, Owner, Rules, hash_source
from wherry.fs.compress import Decompressed
from wherry.fs.tar.unpack import extract

_LINKS = 40  # as in the kernel, path_resolution(7)
_START = 512


class CopyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An expanded COPY or ADD. ``epoch_ns`` is the time that all copies get.

    ``keep_owner``: without ``--chown`` files keep their owner (from a stage), otherwise they
    belong to root.
    """

    copy: Copy
    working_dir: str
    epoch_ns: int
    keep_owner: bool

    @property
    def destination(self) -> str:
        return joined(self.working_dir, self.copy.destination or ".")

    @property
    def into_directory(self) -> bool:
        """The destination is meant to be a directory, whether it exists or not."""
        text = self.copy.destination
        return text.endswith("/") or posixpath.basename(text) in ("", ".", "..")

    def rules(self, owner: Owner | None) -> Rules:
        default = None if self.keep_owner else (0, 0)
        return Rules(
            owner=owner or default,
            mode=parse_chmod(self.copy.chmod),
            exclude=Patterns(self.copy.exclude),
            mtime_ns=self.epoch_ns,
        )


def content_digest(plan: CopyPlan, sources: Sources, check: Check) -> str:
    """What decides whether the step has been done before, but for the image and the instruction.

    ``--chown`` stands in the instruction, and names in it depend on the image only.
    """
    digest = hashlib.sha256()
    rules = plan.rules(None)
    for source in sources.found:
        kept = source.kept if plan.copy.parents else ""
        name = "" if source.is_directory and not kept else source.name
        label = f"{kept}\0{name}\0{_unpacked(plan.copy, source)}"
        hash_source(digest, source.fd, label, rules, check)
    return digest.hexdigest()


def place(plan: CopyPlan, sources: Sources, root: int, check: Check) -> None:
    """Copy all sources into the tree with the root ``root``; CopyFailed."""
    if len(sources.found) > 1 and not plan.into_directory:
        raise CopyFailed(
            f"When using {plan.copy.keyword} with more than one source file, the destination must"
            " be a directory and end with a /"
        )
    owner = parse_chown(plan.copy.chown, root)
    with Copier(plan.rules(owner), check) as copier:
        for source in sources.found:
            _place_one(plan, source, root, copier, owner)


def _place_one(
    plan: CopyPlan, source: Source, root: int, copier: Copier, owner: Owner | None
) -> None:
    destination = plan.destination
    if plan.copy.parents:
        destination = joined(destination, source.kept)
    if source.is_directory:
        if plan.copy.parents:
            destination = joined(destination, source.name or ".")
        _place_directory(source, root, destination, copier, owner or (0, 0))
    elif _unpacked(plan.copy, source):
        _unpack(source, root, destination, owner)
    elif plan.into_directory or plan.copy.parents or _is_directory(root, destination):
        if not source.name:
            raise CopyFailed(f"cannot determine filename from url: {source.path}")
        with closing(make_directories(root, destination, owner or (0, 0))) as parent:
            copier.copy_file(source.fd, parent, source.name)
    else:
        _place_file(source, root, destination, copier, owner or (0, 0))


def _place_directory(
    source: Source, root: int, destination: str, copier: Copier, owner: Owner
) -> None:
    existed = _is_directory(root, destination)
    with (
        closing(make_directories(root, destination, owner)) as target,
        closing(reopen(source.fd, DIRECTORY)) as directory,
    ):
        copier.copy_children(directory, "", target)
        if not existed:
            copier.copy_attributes(directory, target)


def _place_file(
    source: Source, root: int, destination: str, copier: Copier, owner: Owner, links: int = _LINKS
) -> None:
    """Copy to a name; if that is a link, to what it names inside the root."""
    above, name = posixpath.split(destination)
    with closing(make_directories(root, above, owner)) as parent:
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError:  # missing, or no link
            copier.copy_file(source.fd, parent, name)
            return
    if not links:
        raise CopyFailed(f"too many links on the way to {destination}")
    _place_file(source, root, joined(above, target), copier, owner, links - 1)


def _is_directory(root: int, path: str) -> bool:
    fd = open_in(root, path)
    if fd is None:
        return False
    with closing(fd):
        return stat.S_ISDIR(os.fstat(fd).st_mode)


def _unpacked(copy: Copy, source: Source) -> bool:
    """Whether ADD unpacks the source: a local archive, or one of ``--unpack=true``."""
    wanted = source.local if copy.unpack is None else copy.unpack
    if not copy.add or not wanted or not stat.S_ISREG(os.fstat(source.fd).st_mode):
        return False
    with closing(reopen(source.fd, os.O_RDONLY)) as fd:
        return is_archive(os.pread(fd, _START, 0))


def _unpack(source: Source, root: int, destination: str, owner: Owner | None) -> None:
    with (
        closing(make_directories(root, destination, owner or (0, 0))) as target,
        open(reopen(source.fd, os.O_RDONLY), "rb") as file,
    ):
        extract(Decompressed(file), target, owner=owner)
