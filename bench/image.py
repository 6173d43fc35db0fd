"""The image that all engines run: the distribution's static busybox, in Docker's archive format."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from wherry.bootstrap import busybox
from wherry.bootstrap.host import PackageHost

NAME = "bench-busybox:latest"


def unpack(directory: Path) -> None:
    """The files of the image, in a new directory."""
    with tarfile.open(fileobj=io.BytesIO(_layer())) as tar:
        tar.extractall(directory)  # our own archive


def _layer() -> bytes:
    return busybox.layer(busybox.find_program(PackageHost({}), lambda _: None)).getvalue()


def archive() -> bytes:
    """What ``docker load`` reads."""
    layer = _layer()
    config = json.dumps(_config(layer, PackageHost({}).architecture)).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{name}.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    files = {
        f"{name}.json": config,
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    return _tar(files)


def _config(layer: bytes, architecture: str) -> dict[str, object]:
    return {
        "architecture": architecture,
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "bench"}],
    }


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
