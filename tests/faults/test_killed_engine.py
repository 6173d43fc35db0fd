"""The engine is killed, twice installed, or out of disk: nothing is lost, nothing is left."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import Conflict, InvalidArgument, WherryError

pytestmark = pytest.mark.root

EngineMaker = Callable[..., Any]


def lines_of(output: bytes) -> list[int]:
    return [int(line) for line in output.split()]


def test_a_container_its_log_and_its_exit_code_outlive_a_killed_engine(
    new_engine: EngineMaker,
) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    script = "i=0; while [ ! -e /end ]; do i=$((i+1)); echo $i; usleep 2000; done; exit 9"
    container = client.containers.launch("busybox", ["sh", "-c", script])
    container.wait_for_log("20\n")
    pid = container.inspect().state.pid
    engine.kill()
    os.kill(pid, 0)  # it runs on

    client = engine.start()
    container = client.containers.get(container.id)
    assert container.inspect().state.pid == pid
    assert container.exec(["touch", "/end"]).exit_code == 0
    assert container.wait() == 9
    numbers = lines_of(container.logs().stdout)
    assert numbers == list(range(1, len(numbers) + 1))
    container.remove()


def test_an_end_while_there_is_no_engine_is_known_to_the_next_one(new_engine: EngineMaker) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    container = client.containers.launch(
        "busybox",
        ["sh", "-c", "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done"],
    )
    container.wait_for_log("up")
    pid = container.inspect().state.pid
    engine.kill()
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    _wait_readable(descriptor)

    client = engine.start()
    container = client.containers.get(container.id)
    state = container.inspect().state
    assert (state.status, state.exit_code) == ("exited", 4)
    assert container.logs().stdout == b"up\nbye\n"
    container.remove()


def _wait_readable(descriptor: int) -> None:
    import select

    assert select.select([descriptor], [], [], 20)[0]
    os.close(descriptor)


def test_kills_at_any_moment_of_a_start_leave_nothing(new_engine: EngineMaker) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    for _ in range(3):
        threads = [
            threading.Thread(target=_run_until_killed, args=(engine.host,)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        engine.kill()
        for thread in threads:
            thread.join()
        client = engine.start()
    for summary in client.containers.list(everything=True):
        client.containers.get(summary.id).remove(force=True)
    left = [p.name for p in (engine.data / "containers").iterdir()]
    left += [p.name for p in (engine.run / "containers").glob("*")]
    assert left == []
    assert client.containers.run("busybox", ["echo", "fine"]).stdout == b"fine\n"


def _run_until_killed(host: str) -> None:
    from wherry.client import Client

    with Client(host) as client:
        try:
            for _ in range(50):
                client.containers.run("busybox", ["true"])
        except (WherryError, OSError):
            return


def test_two_engines_side_by_side(new_engine: EngineMaker) -> None:
    first, second = new_engine(), new_engine()
    clients = [first.start(), second.start()]
    subnets = []
    for client in clients:
        client.images.bootstrap("busybox")
        container = client.containers.launch("busybox", ["sleep", "600"], name="same-name")
        end = container.inspect().network_settings.networks["bridge"]
        subnets.append(ip_interface(f"{end.ip_address}/{end.ip_prefix_len}").network)
    assert not subnets[0].overlaps(subnets[1])
    second.kill(signal.SIGTERM)
    assert clients[0].containers.get("same-name").exec(["true"]).exit_code == 0
    for client in (clients[0], second.start()):
        client.containers.get("same-name").remove(force=True)


def test_a_second_engine_on_the_same_root_is_refused(new_engine: EngineMaker) -> None:
    engine = new_engine()
    engine.start()
    other = new_engine(engine.data)
    with pytest.raises(AssertionError, match=r"another engine .* uses the data root"):
        other.start()
    other.data = other.run / "own"


def image_archive(size: int) -> bytes:
    """A ``docker save`` archive of one image with one file of ``size`` bytes in one layer."""
    layer = tar_of({"big": os.urandom(size)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["big:latest"], "Layers": ["layer.tar"]}]
    return tar_of(
        {
            "layer.tar": layer,
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def tar_of(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def test_a_full_disk_while_unpacking_is_one_sentence_and_leaves_nothing(
    small_disk: Path, new_engine: EngineMaker
) -> None:
    engine = new_engine(small_disk / "data")
    client = engine.start()
    used = lambda: int(os.popen(f"du -sk {small_disk}/data").read().split()[0])  # noqa: E731
    before = used()
    for size in (15_000_000, 30_000_000):  # the layer's blob fits and its tree does not; neither
        with pytest.raises(WherryError, match="no space left on device"):
            client.images.load([image_archive(size)])
        assert client.images.list() == ()
    client.images.load([image_archive(1_000_000)])
    assert [image.repo_tags for image in client.images.list()] == [("big:latest",)]
    client.images.remove("big")
    assert used() < before + 1024
    engine.clear()


def test_a_taken_port_names_its_holder_and_leaves_nothing(new_engine: EngineMaker) -> None:
    client = new_engine().start()
    client.images.bootstrap("busybox")
    first = client.containers.launch(
        "busybox", ["sleep", "600"], name="holder", ports={80: ("127.0.0.1", 0)}
    )
    port = first.address(80)[1]
    late = client.containers.create(
        "busybox", ["sleep", "600"], name="late", ports={80: ("127.0.0.1", port)}
    )
    with pytest.raises(WherryError, match=f"Bind for 127.0.0.1:{port} failed.*holder"):
        late.start()
    first.remove(force=True)
    late.start()
    late.remove(force=True)


def test_broken_requests_change_nothing(new_engine: EngineMaker) -> None:
    client = new_engine().start()
    client.images.bootstrap("busybox")
    with pytest.raises(InvalidArgument):
        client.containers.create("busybox", ["true"], memory=1000)
    with pytest.raises((InvalidArgument, Conflict)):
        client.containers.create("busybox", ["true"], name="bad name")
    assert client.containers.list(everything=True) == ()
