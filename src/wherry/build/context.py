"""The context of a build: the tree that COPY and ADD read, and the Dockerfile.

It comes as a tar stream, compressed or not, or as one Dockerfile; from the client or from a URL.
"""

from __future__ import annotations

import io
import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import msgspec

from wherry.build.api import BuildRequest
from wherry.build.archives import is_tar
from wherry.build.download import fetch, require_http
from wherry.build.patterns import Patterns, read_rules
from wherry.build.roots import closing, read_in
from wherry.build.trees import Check, remove_matching
from wherry.errors import InvalidArgument, NotSupported
from wherry.fs.compress import Decompressed
from wherry.fs.remove import remove_tree
from wherry.fs.streams import Readable
from wherry.fs.tar.unpack import extract

_DOCKERFILE_LIMIT = 16 << 20
_BLOCK = 512


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """An unpacked context; it lives as long as the block that made it.

    ``root`` is open; ``scratch`` is a directory beside it (mode 0700) for what the build needs.
    """

    root: int
    scratch: str
    dockerfile: bytes
    name: str


class Source(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@contextmanager
def open_context(
    request: BuildRequest, stream: Source, directory: str, check: Check
) -> Iterator[Context]:
    """Unpack a context below ``directory``; all of it is removed at the end.

    InvalidArgument if there is no Dockerfile in it, DataCorrupt for a damaged archive.
    """
    place = tempfile.mkdtemp(prefix="build-", dir=directory)
    try:
        os.mkdir(f"{place}/context", 0o755)
        os.mkdir(f"{place}/scratch", 0o700)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with closing(os.open(f"{place}/context", flags)) as root:
            dockerfile = _load(request, stream, root, f"{place}/scratch", check)
            yield Context(
                root=root,
                scratch=f"{place}/scratch",
                dockerfile=dockerfile,
                name=request.dockerfile,
            )
    finally:
        with suppress(OSError):
            remove_tree(place)


def _load(request: BuildRequest, stream: Source, root: int, scratch: str, check: Check) -> bytes:
    """Fill the tree and return the Dockerfile."""
    if not request.remote:
        text = _unpack_or_text(_Watched(stream, check), root)
    elif request.remote == "client-session":
        raise NotSupported("remote=client-session is not supported: send the context as a tar")
    else:
        require_http(request.remote)
        loaded = fetch(request.remote, scratch, request.proxy_env, check)
        with open(loaded.fd, "rb") as file:
            text = _unpack_or_text(_Watched(file, check), root)
    if text is not None:
        return text
    dockerfile, name = _find_dockerfile(root, request.dockerfile)
    rules = _ignore_rules(root, name)
    if rules:
        remove_matching(root, rules)
    return dockerfile


class _Watched:
    """Reads a stream in whole blocks, and looks whether to stop."""

    def __init__(self, stream: Source, check: Check) -> None:
        self._stream = stream
        self._check = check

    def read(self, size: int, /) -> bytes:
        self._check()
        return self._stream.read(size)


def _unpack_or_text(stream: Readable, root: int) -> bytes | None:
    """Unpack an archive, and return None; or return the stream that is no archive."""
    plain = Decompressed(stream)
    start = b""
    while len(start) < _BLOCK and (more := plain.read(_BLOCK - len(start))):
        start += more
    if not start:
        raise InvalidArgument("the build context is empty: send a tar archive with a Dockerfile")
    whole = _Joined(start, plain)
    if is_tar(start):
        extract(whole, root, owner=(0, 0))
        return None
    text = b""
    while len(text) <= _DOCKERFILE_LIMIT and (more := whole.read(1 << 16)):
        text += more
    if b"\0" in text or len(text) > _DOCKERFILE_LIMIT:
        raise InvalidArgument("the build context is neither a tar archive nor a Dockerfile")
    return text


class _Joined:
    def __init__(self, start: bytes, rest: Readable) -> None:
        self._start = io.BytesIO(start)
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        return self._start.read(size) or bytes(self._rest.read(size))


def _find_dockerfile(root: int, name: str) -> tuple[bytes, str]:
    """The Dockerfile and the path at which it is; ``dockerfile`` will do for ``Dockerfile``."""
    cleaned = posixpath.normpath((name or "Dockerfile").lstrip("/"))
    if cleaned.startswith("../"):
        raise InvalidArgument(f"forbidden path outside the build context: {name} ()")
    candidates = [cleaned]
    if cleaned == "Dockerfile":
        candidates.append("dockerfile")
    for candidate in candidates:
        content = read_in(root, candidate, _DOCKERFILE_LIMIT + 1)
        if content is not None:
            return content, candidate
    raise InvalidArgument(f"Cannot locate specified Dockerfile: {name or 'Dockerfile'}")


def _ignore_rules(root: int, dockerfile: str) -> Patterns:
    """``NAME.dockerignore`` beside the Dockerfile wins over ``.dockerignore``."""
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        content = read_in(root, name, _DOCKERFILE_LIMIT)
        if content is not None:
            return Patterns(read_rules(content.decode("utf-8", "surrogateescape")))
    return Patterns(())
