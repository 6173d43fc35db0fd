"""What ``RUN --mount`` asks for, as mounts of directories and files of the host.

Dockerfile reference, "RUN --mount". The content of a cache mount is no part of a cache key, nor of
a layer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import posixpath
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import msgspec

from wherry.build.api import CopyFailed
from wherry.build.config import joined
from wherry.build.instructions import Run, RunMount
from wherry.build.patterns import Patterns
from wherry.build.roots import DIRECTORY, closing, open_in, reopen
from wherry.build.trees import Check, Copier, Rules
from wherry.errors import InvalidArgument, NotFound
from wherry.fs.remove import remove_tree
from wherry.model.container import MountRequest, TmpfsOptions

_POLL_SECONDS = 0.1
SCRIPT_DIRECTORY = "/dev/pipes"


class Prepared(msgspec.Struct, frozen=True):
    """Mounts of one step, and what they add to its environment."""

    mounts: tuple[MountRequest, ...]
    env: dict[str, str]


class MountSources(msgspec.Struct, frozen=True, kw_only=True):
    """Where mounts come from. ``open_root`` opens a stage's or an image's tree by name."""

    context: int
    scratch: str
    caches: str
    secrets: dict[str, bytes]
    cache_scope: str = ""
    open_root: Callable[[str], int]


def prepare(
    run: Run, working_dir: str, sources: MountSources, stack: ExitStack, check: Check
) -> Prepared:
    """Make everything that an expanded RUN mounts; ``stack`` takes it away again.

    CopyFailed for a source that is missing, NotFound for a secret that is required and not given.
    """
    env: dict[str, str] = {}
    mounts: list[MountRequest] = []
    for number, mount in enumerate(run.mounts):
        place = f"{sources.scratch}/mount-{number}"
        target = joined(working_dir, mount.target) if mount.target else ""
        if mount.type == "tmpfs":
            mounts.append(_tmpfs(mount, target))
        elif mount.type == "cache":
            mounts.append(_bind(_cache(mount, sources, stack, check), target, mount))
        elif mount.type == "bind":
            source = _bind_source(mount, sources, place, stack, check)
            mounts.append(_bind(source, target, mount))
        else:
            _add_secret(mount, sources, place, working_dir, mounts, env, stack)
    return Prepared(tuple(mounts), env)


def script_mount(content: str, name: str, scratch: str, stack: ExitStack) -> MountRequest:
    """A here-document with a ``#!`` line as an executable file at ``/dev/pipes/NAME``."""
    path = f"{scratch}/script"
    _write(path, content.encode(), 0o755, stack)
    return MountRequest(
        type="bind", source=path, target=f"{SCRIPT_DIRECTORY}/{name}", read_only=True
    )


def _bind(source: str, target: str, mount: RunMount) -> MountRequest:
    return MountRequest(type="bind", source=source, target=target, read_only=not mount.read_write)


def _tmpfs(mount: RunMount, target: str) -> MountRequest:
    return MountRequest(
        type="tmpfs", target=target, tmpfs_options=TmpfsOptions(size_bytes=mount.size)
    )


# --- bind ------------------------------------------------------------------------------------


def _bind_source(
    mount: RunMount, sources: MountSources, place: str, stack: ExitStack, check: Check
) -> str:
    """The context itself if it is only read, a copy otherwise: changes are not kept."""
    if mount.from_:
        with closing(sources.open_root(mount.from_)) as root:
            return _copied(root, mount.source, place, stack, check)
    if mount.read_write:
        return _copied(sources.context, mount.source, place, stack, check)
    with closing(open_source(sources.context, mount.source)) as fd:
        return os.readlink(f"/proc/self/fd/{fd}")


def open_source(root: int, path: str) -> int:
    """An O_PATH descriptor of what a bind mount names; CopyFailed."""
    if posixpath.normpath(path or ".").startswith("../"):
        raise CopyFailed(f"forbidden path outside the build context: {path} ()")
    fd = open_in(root, path)
    if fd is None:
        raise CopyFailed(f"bind mount source {path}: no such file or directory")
    return fd


def _copied(root: int, path: str, place: str, stack: ExitStack, check: Check) -> str:
    os.mkdir(place, 0o700)
    stack.callback(remove_tree, place)
    rules = Rules(owner=None, mode=None, exclude=Patterns(()), mtime_ns=0)
    with (
        closing(open_source(root, path)) as source,
        closing(os.open(place, DIRECTORY)) as target,
        Copier(rules, check) as copier,
    ):
        if not stat.S_ISDIR(os.fstat(source).st_mode):
            copier.copy_file(source, target, "file")
            return f"{place}/file"
        os.mkdir("tree", dir_fd=target)
        with (
            closing(reopen(source, DIRECTORY)) as tree,
            closing(os.open("tree", DIRECTORY, dir_fd=target)) as made,
        ):
            copier.copy_children(tree, "", made)
            copier.copy_attributes(tree, made)
    return f"{place}/tree"


# --- secrets ---------------------------------------------------------------------------------


def _add_secret(
    mount: RunMount,
    sources: MountSources,
    place: str,
    working_dir: str,
    mounts: list[MountRequest],
    env: dict[str, str],
    stack: ExitStack,
) -> None:
    name = mount.id or posixpath.basename(mount.source or mount.target)
    content = sources.secrets.get(name)
    if content is None:
        if mount.required:
            raise NotFound(f"secret {name}: not found")
        return
    if mount.env:
        env[mount.env] = _as_variable(name, content)
    if mount.target or not mount.env:
        path = f"{place}-secret"
        _write(path, content, 0o400 if mount.mode is None else mount.mode, stack)
        os.chown(path, mount.uid, mount.gid)
        target = joined(working_dir, mount.target or f"/run/secrets/{name}")
        mounts.append(MountRequest(type="bind", source=path, target=target, read_only=True))


def _as_variable(name: str, content: bytes) -> str:
    if b"\0" in content:
        raise InvalidArgument(f"secret {name} cannot be a variable: it holds a NUL byte")
    return os.fsdecode(content)


def _write(path: str, content: bytes, mode: int, stack: ExitStack) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    stack.callback(os.unlink, path)
    with open(fd, "wb") as file:
        file.write(content)
        os.fchmod(fd, mode)


# --- caches ----------------------------------------------------------------------------------


def _cache(mount: RunMount, sources: MountSources, stack: ExitStack, check: Check) -> str:
    """The directory of a cache, made at its first use and locked as the mount asks."""
    own = f"{sources.cache_scope}\0" if sources.cache_scope else ""
    text = own + (mount.id or posixpath.normpath(mount.target))
    name = hashlib.sha256(text.encode()).hexdigest()
    os.makedirs(sources.caches, 0o700, exist_ok=True)
    number = 0
    while True:
        suffix = f"-{number}" if number else ""
        place = f"{sources.caches}/{name}{suffix}"
        if _lock_cache(place, mount.sharing, stack):
            break
        if mount.sharing == "private":
            number += 1
        else:
            check()
            time.sleep(_POLL_SECONDS)
    with suppress(FileExistsError):
        os.mkdir(f"{place}/data", 0o700)
        os.chown(f"{place}/data", mount.uid, mount.gid)
        os.chmod(f"{place}/data", 0o755 if mount.mode is None else mount.mode)
    return f"{place}/data"


def _lock_cache(place: str, sharing: str, stack: ExitStack) -> bool:
    """Hold the cache until the end of the step; False if another step has it for itself."""
    os.makedirs(place, 0o700, exist_ok=True)
    fd = os.open(f"{place}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    stack.callback(os.close, fd)
    return True


def remove_caches(directory: str) -> int:
    """Remove all caches that no step uses now; how many."""
    if not os.path.isdir(directory):
        return 0
    removed = 0
    for name in os.listdir(directory):
        with ExitStack() as stack:
            if _lock_cache(f"{directory}/{name}", "locked", stack):
                shutil.rmtree(f"{directory}/{name}", ignore_errors=True)
                removed += 1
    return removed
