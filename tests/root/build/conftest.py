"""A real store, and RUN steps in a chroot: all of a build but the runtime."""

from __future__ import annotations

import io
import os
import select
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from wherry.build.api import (
    BuildCancelled,
    BuildRequest,
    BuildResult,
    Cancel,
    Event,
    Output,
    Progress,
    RunStep,
    StepOutcome,
)
from wherry.build.builder import Builder
from wherry.build.progress import classic_text
from wherry.model.image import ImageConfig, Platform, RootFs
from wherry.model.reference import parse_reference
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.api import Image
from wherry.store.blobs import BlobStore
from wherry.store.database import Database
from wherry.store.images import ImageStore
from wherry.sys import mount

BUSYBOX = "/bin/busybox"
CREATED = "2024-05-06T07:08:09Z"
_APPLETS = (
    "sh cat ls echo mkdir rm touch true false sleep stat env id ln chmod test cp mv find sed dd "
    "date mkfifo"
)

_CHILD = """
import json, os, sys, warnings  # the last is imported by os.execvpe(), which has another root
from wherry.sys import mount, namespaces, overlay
step = json.loads(sys.argv[1])
namespaces.unshare(namespaces.CLONE_NEWNS)
mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
place = step["place"]
overlay.mount_overlay_at(place, step["lower"], step["upper"], step["work"])
for kind, source, where, read_only in step["mounts"]:
    path = place + where
    if kind == "tmpfs":
        mount.mount("tmpfs", path, "tmpfs")
        continue
    mount.mount(source, path, "", mount.MS_BIND)
    if read_only:
        mount.mount("", path, "", mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY)
os.chroot(place)
os.chdir(step["cwd"])
user, _, group = step["user"].partition(":")
if user:
    os.setgid(int(group or user))
    os.setuid(int(user))
env = dict(item.split("=", 1) for item in step["env"])
try:
    os.execvpe(step["args"][0], step["args"], env)
except OSError as error:
    print(error.strerror, file=sys.stderr)
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""


class ChrootRunner:
    """Runs steps in a mount namespace and a chroot. Mountpoints are made and reported."""

    def __init__(self, snapshots: OverlaySnapshotter, place: Path) -> None:
        self._snapshots = snapshots
        self._place = place
        self.steps: list[RunStep] = []

    def run(self, step: RunStep, output: Output, cancel: Cancel) -> StepOutcome:
        self.steps.append(step)
        root = self._snapshots.open_root(step.snapshot)
        try:
            created = self._make_mountpoints(root, step)
        finally:
            os.close(root)
        process = self._start(step)
        return StepOutcome(
            exit_code=self._wait(process, output, cancel), created_mountpoints=tuple(created)
        )

    def _make_mountpoints(self, root: int, step: RunStep) -> list[str]:
        created = []
        for request in step.host.mounts or ():
            path = Path(f"/proc/self/fd/{root}{request.target}")
            for above in reversed(path.parents):
                if len(above.parts) > 5 and not above.exists():
                    above.mkdir()
                    created.append("/" + "/".join(above.parts[5:]))
            if not path.exists():
                path.touch() if request.source and os.path.isfile(request.source) else path.mkdir()
                created.append(request.target)
        return created

    def _start(self, step: RunStep) -> subprocess.Popen[bytes]:
        mounts = [(m.type, m.source, m.target, m.read_only) for m in step.host.mounts or ()]
        overlay = self._snapshots.mounts(step.snapshot)
        request = {
            "lower": overlay.lower,
            "upper": overlay.upper,
            "work": overlay.work,
            "place": str(self._place),
            "mounts": mounts,
            "cwd": step.config.working_dir,
            "user": step.config.user,
            "env": step.config.env,
            "args": step.config.cmd,
        }
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, msgspec.json.encode(request).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _wait(self, process: subprocess.Popen[bytes], output: Output, cancel: Cancel) -> int:
        assert process.stdout
        with process.stdout as stream:
            while True:
                ready, _, _ = select.select([stream], [], [], 0.05)
                if cancel.is_set():
                    process.kill()
                    process.wait()
                    raise BuildCancelled("the build was cancelled")
                if ready:
                    data = os.read(stream.fileno(), 65536)
                    if not data:
                        return process.wait()
                    output("stdout", data)


class LocalResolver:
    """Images that are here; nothing is pulled."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    def resolve(
        self,
        reference: str,
        *,
        platform: Platform | None,
        pull: bool,
        registry_config: bytes,
        progress: Progress,
    ) -> Image:
        return self._images.get(reference)


def tar_of(files: dict[str, bytes | str]) -> bytes:
    """A tar with the given files; a text is the target of a link, ``name/`` a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = 0o755 if name.endswith("/") or "bin/" in name else 0o644
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            data = io.BytesIO(content) if isinstance(content, bytes) else None
            archive.addfile(info, data)
    return buffer.getvalue()


@dataclass
class Bench:
    """An engine's store in a directory, and a builder on it."""

    place: Path
    db: Database
    images: ImageStore
    snapshots: OverlaySnapshotter
    runner: ChrootRunner
    builder: Builder
    events: list[Event] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)

    def build(
        self, text: str, files: dict[str, bytes | str] | None = None, **request: object
    ) -> BuildResult:
        """Build from a Dockerfile's text and the context's other files."""
        return self.build_tar(self.context(text, files or {}), **request)

    def context(self, text: str, files: dict[str, bytes | str]) -> bytes:
        return tar_of({"Dockerfile": text.encode(), **files})

    def build_tar(self, context: bytes, **request: object) -> BuildResult:
        asked = msgspec.convert(request, BuildRequest)
        self.events.clear()
        try:
            return self.builder.build(asked, io.BytesIO(context), self.events.append, self.cancel)
        finally:
            print(self.text)  # shown by pytest for a test that fails

    @property
    def text(self) -> str:
        """What docker would have printed for the last build."""
        return "".join(filter(None, map(classic_text, self.events)))

    def config(self, result: BuildResult) -> ImageConfig:
        return self.images.get(result.image).config

    def look(self, result: BuildResult, use: Callable[[Path], object]) -> object:
        """Look into an image's tree."""
        chain_id = self.images.get(result.image).chain_id
        assert chain_id
        root = self.snapshots.open_root(chain_id)
        try:
            return use(Path(f"/proc/self/fd/{root}"))
        finally:
            os.close(root)

    def read(self, result: BuildResult, path: str) -> str:
        return str(self.look(result, lambda root: (root / path).read_text()))

    def lstat(self, result: BuildResult, path: str) -> os.stat_result:
        found = self.look(result, lambda root: (root / path).lstat())
        assert isinstance(found, os.stat_result)
        return found

    def tree(self, result: BuildResult, path: str) -> list[str]:
        """All names below a directory of an image."""

        def names(root: Path) -> list[str]:
            top = root / path
            return sorted(str(found.relative_to(top)) for found in top.rglob("*"))

        found = self.look(result, names)
        assert isinstance(found, list)
        return found

    def active(self) -> list[str]:
        return [info.key for info in self.snapshots.list() if info.kind == "active"]


def add_busybox(images: ImageStore) -> Image:
    """``busybox:latest``: one program, some users, a link to a directory."""
    files: dict[str, bytes | str] = {
        "bin/": b"",
        "bin/busybox": Path(BUSYBOX).read_bytes(),
        **{f"bin/{name}": "busybox" for name in _APPLETS.split()},
        "etc/": b"",
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
        "etc/group": b"root:x:0:\nstaff:x:50:\n",
        "tmp/": b"",
        "usr/": b"",
        "usr/lib/": b"",
        "lib64": "usr/lib",
        "evil": "../../../../../../etc",
    }
    layer = images.apply_layer(io.BytesIO(tar_of(files)), parent=None, expected_diff_id=None)
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        rootfs=RootFs(diff_ids=(layer.diff_id,)),
        created=CREATED,
    )
    name = parse_reference("busybox").tagged()
    return images.add(msgspec.json.encode(config), [layer], references=[name])


def new_bench(place: Path) -> Bench:
    place.mkdir(exist_ok=True)
    (place / "root").mkdir()
    db = Database(str(place / "wherry.db"))
    snapshots = OverlaySnapshotter(str(place / "snapshots"), db)
    images = ImageStore(db, BlobStore(str(place / "blobs")), snapshots)
    runner = ChrootRunner(snapshots, place / "root")
    builder = Builder(
        images, snapshots, db, runner, LocalResolver(images), directory=str(place / "build")
    )
    return Bench(place, db, images, snapshots, runner, builder)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A builder with ``busybox``. At the end no step's snapshot and no file is left over."""
    made = new_bench(tmp_path / "data")
    add_busybox(made.images)
    yield made
    assert made.active() == []
    assert list((made.place / "build" / "work").iterdir()) == []


@pytest.fixture
def another_bench(tmp_path: Path) -> Bench:
    """A second machine, as it were."""
    made = new_bench(tmp_path / "other")
    add_busybox(made.images)
    return made


@pytest.fixture
def bench_on_16_mib(tmp_path: Path) -> Iterator[Bench]:
    """All data on a file system that is soon full."""
    place = tmp_path / "small"
    place.mkdir()
    mount.mount("tmpfs", str(place), "tmpfs", 0, "size=16m")
    try:
        made = new_bench(place)
        add_busybox(made.images)
        yield made
        assert made.active() == []
        assert list((made.place / "build" / "work").iterdir()) == []
        made.snapshots.close()
        made.db.close()
    finally:
        mount.umount2(str(place), mount.MNT_DETACH)
