"""What is going on while something is killed: sequences of requests, and what must be true after
each of them, however it ended."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.faults.victims import Role

from wherry.client import Client
from wherry.errors import NotFound, WherryError

Step = tuple[str, Callable[[], object]]

_SERVICE = "trap 'exit 3' TERM; echo up; sleep 600 & wait"
ENDED_BY_TERM = 3
ENDED_BY_ITSELF = 7
KILLED = 137
_MARKER = "marker"


@dataclass
class Round:
    """One sequence of requests under names of its own, and which of them were answered."""

    client: Client
    name: str
    scratch: Path
    done: list[str] = field(default_factory=list)
    error: str = ""
    pid: int = 0
    killed_init: int = 0

    def run(self, steps: Iterator[Step]) -> None:
        """Go on until one fails; what it said is in ``error``."""
        for label, action in steps:
            try:
                action()
            except (WherryError, OSError) as error:
                self.error = f"{label}: {error}"
                return
            self.done.append(label)

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        return self.client.session.json(method, path, query, json=body)


def service(work: Round) -> Iterator[Step]:
    """A container with volumes, a network, a port and names; it is used, stopped and removed."""
    name = work.name
    yield "volume", lambda: work.call("POST", "/volumes/create", {"Name": name})
    yield "network", lambda: work.call("POST", "/networks/create", {"Name": name})
    yield "create", lambda: _create(work, _service_body(name))
    yield "start", lambda: _start(work)
    yield "log", lambda: work.client.containers.get(name).wait_for_log("up\n")
    yield "write", lambda: _exec(work, f"echo {name} > /data/{_MARKER}")
    yield "pause", lambda: work.call("POST", f"/containers/{name}/pause")
    yield "unpause", lambda: work.call("POST", f"/containers/{name}/unpause")
    connection = {"Container": name}
    yield "connect", lambda: work.call("POST", "/networks/bridge/connect", connection)
    yield "disconnect", lambda: work.call("POST", "/networks/bridge/disconnect", connection)
    yield "stop", lambda: work.call("POST", f"/containers/{name}/stop")
    yield "code", lambda: _expect_code(work, ENDED_BY_TERM)
    yield "remove", lambda: work.call("DELETE", f"/containers/{name}", v=True)
    yield "network-remove", lambda: work.call("DELETE", f"/networks/{name}")
    yield "volume-remove", lambda: work.call("DELETE", f"/volumes/{name}")


def task(work: Round) -> Iterator[Step]:
    """A container that ends by itself."""
    body = {"Image": "busybox", "Cmd": ["sh", "-c", f"exit {ENDED_BY_ITSELF}"]}
    yield "create", lambda: _create(work, body)
    yield "start", lambda: work.call("POST", f"/containers/{work.name}/start")
    yield "code", lambda: _expect_code(work, ENDED_BY_ITSELF)
    yield "remove", lambda: work.call("DELETE", f"/containers/{work.name}")


def images(work: Round) -> Iterator[Step]:
    """Images come by every way and go again."""
    name = work.name
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "echo changed > /changed"]}
    context = work.scratch / name
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo 1 > /one\nCOPY two /two\n")
    (context / "two").write_text(name)
    yield "load", lambda: work.client.images.load([image_archive(name)])
    yield "create", lambda: _create(work, body)
    yield "start", lambda: work.call("POST", f"/containers/{name}/start")
    yield "code", lambda: _expect_code(work, 0)
    commit = {"container": name, "repo": f"{name}-committed"}
    yield "commit", lambda: work.call("POST", "/commit", {}, **commit)
    yield "remove", lambda: work.call("DELETE", f"/containers/{name}")
    yield "build", lambda: work.client.images.build(context, tag=f"{name}-built")
    for one in (f"{name}-built", f"{name}-committed", f"{name}-loaded"):
        yield f"remove {one}", lambda one=one: work.client.images.remove(one)  # type: ignore[misc]


OPERATIONS: dict[str, Callable[[Round], Iterator[Step]]] = {
    "service": service,
    "task": task,
    "images": images,
}


def _service_body(name: str) -> dict[str, object]:
    return {
        "Image": "busybox",
        "Cmd": ["sh", "-c", _SERVICE],
        "Volumes": {"/tmp": {}},
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "NetworkMode": name,
            "Binds": [f"{name}:/data"],
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]},
        },
    }


def _create(work: Round, body: dict[str, object]) -> None:
    work.call("POST", "/containers/create", body, name=work.name)


def _start(work: Round) -> None:
    work.call("POST", f"/containers/{work.name}/start")
    work.pid = work.call("GET", f"/containers/{work.name}/json")["State"]["Pid"]


def _exec(work: Round, script: str) -> None:
    done = work.client.containers.get(work.name).exec(["sh", "-c", script])
    if done.exit_code:
        raise WherryError(f"the exec ended with status {done.exit_code}")


def _expect_code(work: Round, wanted: int) -> None:
    code = work.client.containers.get(work.name).wait()
    if code != wanted:
        raise WherryError(f"the container ended with status {code}")


def image_archive(name: str) -> bytes:
    """A ``docker save`` archive of the image ``NAME-loaded`` with one file."""
    layer = tar_of({"file": name.encode()})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    names = [f"{name}-loaded:latest"]
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]
    texts = {"config.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    return tar_of({"layer.tar": layer, **{key: text.encode() for key, text in texts.items()}})


def tar_of(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()


# --- afterwards --------------------------------------------------------------------------------


def wrongs(work: Round, killed: Role) -> Iterator[str]:
    """What is not as it must be after the engine has come to itself again."""
    if work.error.count("\n") or "Traceback" in work.error:
        yield f"not one sentence: {work.error}"
    found = _inspect(work)
    if found is None:
        if "create" in work.done and "remove" not in _begun(work):
            yield "the container is lost"
        return
    yield from _wrong_state(work, killed, found["State"])
    yield from _wrong_data(work)


def _begun(work: Round) -> list[str]:
    """Steps that were done, and the one that was under way."""
    return [*work.done, work.error.partition(":")[0]]


def _inspect(work: Round) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = work.call("GET", f"/containers/{work.name}/json")
    except NotFound:
        return None
    return found


def _wrong_state(work: Round, killed: Role, state: dict[str, Any]) -> Iterator[str]:
    status, code = state["Status"], state["ExitCode"]
    spared = killed in ("engine", "launcher", "execs", "resolver")
    if "code" in work.done:
        return
    if "stop" in _begun(work):
        if status == "running" and state["Pid"] != work.pid:
            yield "stopped, and running as another process"
    elif work.pid and spared:
        if status not in ("running", "paused") or state["Pid"] != work.pid:
            yield f"it ran, and now is {status} ({code}) without anybody's wish"
    elif "start" in work.done and not work.pid and spared:
        if status not in ("exited", "running") or (status == "exited" and code not in (0, 7)):
            yield f"it was to end by itself, and is {status} ({code})"
    elif "start" not in _begun(work) and status != "created":
        yield f"it was never started, and is {status}"
    if status == "exited" and code == 255:
        yield "nothing is known of its end"


def _wrong_data(work: Round) -> Iterator[str]:
    if "write" not in work.done or "volume-remove" in _begun(work):
        return
    volume = work.client.volumes.inspect(work.name)
    if Path(volume.mountpoint, _MARKER).read_text() != f"{work.name}\n":
        yield "what was written to the volume is lost"


def use_again(work: Round) -> None:
    """The container can be started, entered, and ended; whatever it went through."""
    found = _inspect(work)
    if found is None:
        return
    container = work.client.containers.get(work.name)
    if found["State"]["Status"] == "paused":
        container.unpause()
    if work.killed_init and found["State"]["Pid"] == work.killed_init:
        container.wait()  # it was frozen, or has not ended altogether
        found = _inspect(work) or found
    said = b"" if found["State"]["Running"] else container.logs().stdout
    container.start()
    if found["Config"]["Cmd"][-1] == _SERVICE:
        container.wait_for_log(f"{said.decode()}up\n")  # not what it said in an earlier life
        done = container.exec(["true"])
        assert done.exit_code == 0, f"an exec ended with status {done.exit_code}: {done}"
        container.stop()
        code = container.wait()
        assert code == ENDED_BY_TERM, f"it was stopped and ended with status {code}"
    else:
        code = container.wait()
        assert code in (0, ENDED_BY_ITSELF), f"it ended with status {code}"


def clear_away(work: Round) -> None:
    """Remove all that this round has made."""
    with suppress(NotFound):
        work.call("DELETE", f"/containers/{work.name}", force=True, v=True)
    for path in (f"/networks/{work.name}", f"/volumes/{work.name}"):
        with suppress(NotFound):
            work.call("DELETE", path)
    for kind in ("loaded", "committed", "built"):
        with suppress(NotFound):
            work.client.images.remove(f"{work.name}-{kind}")
