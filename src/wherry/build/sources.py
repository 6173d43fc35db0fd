"""What COPY and ADD take: files and trees of the context, a stage or an image, found by name or
pattern; here-documents; downloads."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable

import msgspec

from wherry.build.api import CopyFailed
from wherry.build.instructions import Copy
from wherry.build.lines import Heredoc, parse_heredoc
from wherry.build.patterns import Patterns, compile_pattern, has_magic
from wherry.build.roots import DIRECTORY, closing, open_in, reopen

_HEREDOC_MODE = 0o644
_DEPTH_LIMIT = 256


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One file or directory to copy. ``fd`` may be O_PATH; it belongs to :class:`Sources`.

    ``path`` is relative to its root, without links resolved; ``kept`` is the part of its parent
    that ``--parents`` keeps. ``local``: ADD may unpack it.
    """

    fd: int
    path: str
    name: str
    kept: str = ""
    local: bool = True

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(os.fstat(self.fd).st_mode)


class Sources:
    """The sources of one COPY or ADD, held open."""

    def __init__(self) -> None:
        self.found: list[Source] = []

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        while self.found:
            os.close(self.found.pop().fd)

    def collect(
        self, copy: Copy, root: int, download: Callable[[str], Source], *, in_context: bool
    ) -> None:
        """Find all sources of an expanded instruction, in their order; CopyFailed."""
        documents = {heredoc.name: heredoc for heredoc in copy.heredocs}
        for text in copy.sources:
            document = parse_heredoc(text)
            if document and document[1] in documents:
                self.found.append(_from_heredoc(documents[document[1]]))
            elif copy.add and is_remote(text):
                self.found.append(download(text))
            else:
                self._collect_files(copy, text, root, in_context=in_context)
        if not self.found:
            raise CopyFailed("no source files were specified")

    def _collect_files(self, copy: Copy, text: str, root: int, *, in_context: bool) -> None:
        path, kept_from = _relative(text, in_context=in_context)
        paths = _matching(root, path) if has_magic(path) else [path]
        excluded = _excluder(copy)
        for found in paths:
            fd = open_in(root, found)
            if fd is None:
                raise CopyFailed(_missing(found if in_context else text, in_context=in_context))
            name = posixpath.basename(found)
            kept = posixpath.relpath(posixpath.dirname(found) or ".", kept_from or ".")
            self.found.append(Source(fd=fd, path=found, name=name, kept=kept))
            if excluded(name) and not self.found[-1].is_directory:
                os.close(self.found.pop().fd)


def is_remote(text: str) -> bool:
    return text.startswith(("http://", "https://", "git://", "git@", "ssh://"))


def _excluder(copy: Copy) -> Callable[[str], bool]:
    return Patterns(copy.exclude).match


def _relative(text: str, *, in_context: bool) -> tuple[str, str]:
    """The path below the root, "" for the root itself; and what ``--parents`` drops of it.

    A ``/./`` in the path is where the part to keep starts. Only in the context, whose limits are
    the user's own business, does a path that climbs out get an error of its own.
    """
    dropped, pivot, _ = text.lstrip("/").partition("/./")
    cleaned = posixpath.normpath(text.lstrip("/") or ".")
    if cleaned == ".." or cleaned.startswith("../"):
        if in_context:
            raise CopyFailed(f"forbidden path outside the build context: {text} ()")
        cleaned = posixpath.normpath("/" + cleaned).lstrip("/")
    return "" if cleaned == "." else cleaned, posixpath.normpath(dropped) if pivot else ""


def _missing(path: str, *, in_context: bool) -> str:
    if in_context:
        return (
            "file not found in build context or excluded by .dockerignore: "
            f"stat {path}: file does not exist"
        )
    return f"stat {path}: file does not exist"


def _from_heredoc(heredoc: Heredoc) -> Source:
    fd = os.memfd_create("heredoc", os.MFD_CLOEXEC)
    os.fchmod(fd, _HEREDOC_MODE)
    with open(os.dup(fd), "wb") as file:
        file.write(heredoc.data.encode())
    return Source(fd=fd, path=heredoc.name, name=heredoc.name, local=False)


# --- patterns --------------------------------------------------------------------------------


def _matching(root: int, pattern: str) -> list[str]:
    """The paths that match, in order. Links on the way are followed inside the root."""
    return sorted(_expand(root, "", pattern.split("/")))


def _expand(root: int, path: str, components: list[str]) -> Iterable[str]:
    if not components:
        yield path
        return
    first, *rest = components
    if path.count("/") >= _DEPTH_LIMIT:
        raise CopyFailed(f"{path[:80]}... is nested more than {_DEPTH_LIMIT} directories deep")
    if first == "**":
        if rest:
            yield from _expand(root, path, rest)
        for name, is_link in _names(root, path):
            if not rest:
                yield posixpath.join(path, name)
            if not is_link:
                yield from _expand(root, posixpath.join(path, name), components)
    elif not has_magic(first):
        below = posixpath.join(path, first)
        fd = open_in(root, below)
        if fd is not None:
            os.close(fd)
            yield from _expand(root, below, rest)
    else:
        matches = compile_pattern(first).fullmatch
        for name, _ in _names(root, path):
            if matches(name):
                yield from _expand(root, posixpath.join(path, name), rest)


def _names(root: int, path: str) -> list[tuple[str, bool]]:
    """The names in a directory, and whether each is a link; none if it is something else."""
    fd = open_in(root, path)
    if fd is None:
        return []
    with closing(fd):
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            return []
        with closing(reopen(fd, DIRECTORY)) as directory, os.scandir(directory) as entries:
            return sorted((entry.name, entry.is_symlink()) for entry in entries)
