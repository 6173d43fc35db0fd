"""An engine in memory, for the API to serve: no containers, but every record they would have."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.patience import patience

from wherry.build.api import BuildResult
from wherry.engine.api import ContainerSize, Created, PruneReport
from wherry.engine.records import (
    Container,
    Event,
    Exec,
    ExecOptions,
    RemovedImage,
    WaitResult,
)
from wherry.engine.system_api import SystemInfo
from wherry.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from wherry.model.container import ContainerConfig, EndpointSettings, HostConfig
from wherry.model.digest import Digest, digest_of
from wherry.model.image import (
    Descriptor,
    ExecConfig,
    History,
    ImageConfig,
    Platform,
    RootFs,
)
from wherry.network.api import Endpoint, Network, NetworkRequest, Subnet
from wherry.registry.api import Described
from wherry.store.api import Image, LayerRecord

_PATIENCE = patience(10.0)


class FakeContainers:
    """Implements ``engine.api.ContainerApi`` over records in memory; remembers its calls."""

    def __init__(self, events: FakeEvents) -> None:
        self.records: dict[str, Container] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.streams: dict[str, socket.socket] = {}
        self.waits: list[Future[WaitResult]] = []
        self.failure: Exception | None = None
        self._events = events

    def add(self, **members: Any) -> Container:
        number = len(self.records) + 1
        defaults: dict[str, Any] = {
            "id": f"{number:x}" * 64,
            "name": f"c{number}",
            "created_ns": 1_700_000_000_123_456_789,
            "image_id": "sha256:" + "a" * 64,
            "image_name": "busybox",
            "config": ContainerConfig(image="busybox"),
            "host": HostConfig(),
            "networking": {},
            "path": "sh",
            "args": (),
        }
        record = Container(**(defaults | members))
        self.records[record.id] = record
        return record

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure

    def create(self, name: str, config: Any, host: Any, networking: Any, **more: Any) -> Created:
        self._note("create", name, config, host, networking, more)
        record = self.add(name=name or "made_up", config=config, host=host)
        return Created(id=record.id, warnings=("mind the gap",))

    def get(self, ref: str) -> Container:
        for record in self.records.values():
            if ref.lstrip("/") == record.name or record.id.startswith(ref):
                return record
        raise NotFound(f"No such container: {ref}")

    def list(self, **asked: Any) -> tuple[Container, ...]:
        self._note("list", asked)
        return tuple(self.records.values())

    def size(self, ref: str) -> ContainerSize:
        return ContainerSize(writable=10, total=1000)

    def wait(self, ref: str, condition: str = "not-running") -> Future[WaitResult]:
        self._note("wait", self.get(ref).id, condition)
        future: Future[WaitResult] = Future()
        self.waits.append(future)
        return future

    def attach(self, ref: str, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
        self._note("attach", ref, stdin, stdout, stderr)
        self.streams[ref], theirs = socket.socketpair()
        self.streams[ref].settimeout(_PATIENCE)
        return theirs

    def top(self, ref: str, ps_args: str) -> tuple[Any, Any]:
        self._note("top", ref, ps_args)
        return ("PID", "CMD"), (("1", "sh"),)

    def changes(self, ref: str) -> tuple[tuple[int, str], ...]:
        return ((1, "/new"), (2, "/gone"))

    def prune(self, filters: Any = ()) -> PruneReport:
        self._note("prune", filters)
        return PruneReport(removed=("x",), reclaimed=7)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._note(name, *args, kwargs)


class FakeExecs:
    """Implements ``engine.api.ExecApi`` for one container that runs."""

    def __init__(self) -> None:
        self.records: dict[str, Exec] = {}
        self.stream: socket.socket | None = None
        self.failure: Exception | None = None
        self.prompt = False
        self.expected: list[str] = []
        self.started: list[tuple[str, bool, Any]] = []
        self.exit: Future[int] = Future()
        self.sizes: list[tuple[str, int, int]] = []

    def create(self, ref: str, options: ExecOptions) -> str:
        if not options.cmd:
            raise InvalidArgument("No exec command specified")
        exec_id = f"{len(self.records) + 1:x}" * 64
        self.records[exec_id] = Exec(id=exec_id, container_id=ref, options=options)
        return exec_id

    def get(self, exec_id: str) -> Exec:
        if exec_id not in self.records:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self.records[exec_id]

    def expect(self, exec_id: str) -> None:
        self.expected.append(exec_id)

    def begin(self, exec_id: str, *, console_size: Any = None, say: Any) -> Any:
        if not self.prompt:
            return None
        failure, self.failure = self.failure, None
        stream = self.start(exec_id, detach=False, console_size=console_size)
        if failure is not None and self.stream is not None:
            self.stream.sendall(say(failure))
            self.stream.close()
        return stream

    def start(self, exec_id: str, *, detach: bool, console_size: Any = None) -> Any:
        self.started.append((exec_id, detach, console_size))
        if self.failure is not None:
            raise self.failure
        if detach:
            return None
        ours, theirs = socket.socketpair()
        ours.settimeout(_PATIENCE)
        self.stream = ours  # others wait for it, and may close it at once
        return theirs

    def exited(self, exec_id: str) -> Future[int]:
        return self.exit

    def resize(self, exec_id: str, rows: int, columns: int) -> None:
        self.sizes.append((exec_id, rows, columns))


class FakeEvents:
    """Implements ``engine.system_api.EventApi``."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Event], None]] = []
        self.remembered: list[Event] = []
        self.told: list[tuple[str, int]] = []

    def pruned(self, kind: str, reclaimed: int) -> None:
        self.told.append((kind, reclaimed))

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def past(self, since_ns: int, until_ns: int) -> tuple[Event, ...]:
        return tuple(e for e in self.remembered if since_ns <= e.time_ns <= until_ns)

    def emit(self, event: Event) -> None:
        self.remembered.append(event)
        for callback in tuple(self.callbacks):
            callback(event)


class FakeImages:
    """Implements ``engine.api.ImageApi`` for one image."""

    def __init__(self) -> None:
        digest = Digest("sha256:" + "a" * 64)
        layer = LayerRecord(diff_id=digest, chain_id=digest, size=4096)
        config = ImageConfig(
            architecture="amd64",
            os="linux",
            rootfs=RootFs(diff_ids=(digest,)),
            created="2024-01-02T03:04:05Z",
            config=ExecConfig(cmd=("sh",), env=("PATH=/bin",)),
        )
        self.image = Image(
            id=digest,
            config=config,
            layers=(layer,),
            references=("docker.io/library/busybox:latest",),
            repo_digests=(f"docker.io/library/busybox@{digest}",),
            created_ns=1,
        )
        self.calls: list[tuple[Any, ...]] = []
        self.script: list[Any] = []
        self.loaded = b""

    def get(self, name: str) -> Image:
        if name in ("busybox", "docker.io/library/busybox", self.image.id):
            return self.image
        raise NotFound(f"No such image: {name}:latest")

    def list(self, **asked: Any) -> tuple[Image, ...]:
        self.calls.append(("list", asked))
        return (self.image,)

    def history(self, name: str) -> Any:
        return (
            (History(created="2024-01-02T03:04:05Z", created_by="two", empty_layer=True), 0),
            (History(created="broken", created_by="one"), 4096),
        )

    def tag(self, *names: str) -> None:
        self.calls.append(("tag", *names))

    def remove(self, name: str, **how: Any) -> tuple[RemovedImage, ...]:
        self.calls.append(("remove", name, how))
        return (RemovedImage(untagged="busybox:latest"), RemovedImage(deleted=self.image.id))

    def prune(self, filters: Any = ()) -> Any:
        return (), 0

    def _play(self, progress: Callable[[Any], None]) -> None:
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            progress(step)

    def pull(self, reference: str, **how: Any) -> Image:
        self.calls.append(("pull", reference, how["platform"], how["credentials"]))
        self._play(how["progress"])
        return self.image

    def push(self, reference: str, **how: Any) -> None:
        self.calls.append(("push", reference, how["credentials"]))
        self._play(how["progress"])

    def describe(self, reference: str, credentials: Any) -> Described:
        self.calls.append(("describe", reference, credentials))
        digest = digest_of(b"manifest")
        return Described(
            descriptor=Descriptor(media_type="application/x", digest=digest, size=8),
            platforms=(Platform(architecture="amd64", os="linux"),),
        )

    def login(self, credentials: Any) -> None:
        self.calls.append(("login", credentials))
        self._play(lambda _: None)

    def save(self, names: Any, output: Callable[[bytes], None]) -> None:
        self.calls.append(("save", names))
        self._play(output)

    def load(self, archive: Any, progress: Callable[[Any], None]) -> None:
        self.loaded = archive.read()
        self._play(progress)

    def bootstrap(self, name: str, *, progress: Callable[[Any], None]) -> Image:
        self._play(progress)
        return self.image

    def bootstrap_names(self) -> Any:
        return (("busybox", "the static one"),)


class FakeBuilds:
    def __init__(self) -> None:
        self.request: Any = None
        self.context = b""
        self.act: Callable[..., Any] = lambda report, cancelled: BuildResult(
            image=Digest("sha256:" + "a" * 64)
        )

    def build(self, request: Any, context: Any, progress: Any, cancelled: Any) -> Any:
        self.request = request
        self.context = context.read()
        return self.act(progress, cancelled)


class FakeNetworks:
    def __init__(self) -> None:
        self.known: dict[str, Network] = {}
        self.used: dict[str, Endpoint] = {}
        self.create(NetworkRequest(name="bridge", subnets=(Subnet(subnet="172.17.0.0/16"),)))

    def create(self, request: NetworkRequest) -> Network:
        if any(n.name == request.name for n in self.known.values()):
            raise Conflict(f"network with name {request.name} already exists")
        made = Network(
            id=f"{len(self.known) + 1:x}" * 64,
            created_ns=1_700_000_000_000_000_000,
            **{
                name: getattr(request, name)
                for name in ("name driver subnets internal ipv6 attachable options labels".split())
            },
        )
        self.known[made.id] = made
        return made

    def get(self, name: str) -> Network:
        for network in self.known.values():
            if network.name == name or network.id.startswith(name):
                return network
        raise NotFound(f"network {name} not found")

    def list(self) -> tuple[Network, ...]:
        return tuple(self.known.values())

    def remove(self, name: str) -> None:
        del self.known[self.get(name).id]

    def endpoints(self, name: str) -> tuple[Endpoint, ...]:
        return tuple(e for e in self.used.values() if e.network_id == self.get(name).id)


class FakeAttachments:
    """Networks with containers: what was connected is in ``connected``."""

    def __init__(self, networks: FakeNetworks, containers: FakeContainers) -> None:
        self._networks = networks
        self._containers = containers
        self.create, self.remove = networks.create, networks.remove
        self.connected: dict[tuple[str, str], EndpointSettings] = {}

    def prune(self, filters: Any) -> tuple[str, ...]:
        gone = [n for n in self._networks.list() if n.name != "bridge"]
        for network in gone:
            self.remove(network.id)
        return tuple(network.name for network in gone)

    def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        key = self._networks.get(ref).name, self._containers.get(container).name
        if key in self.connected:
            raise PermissionDenied(f"endpoint with name {key[1]} already exists in network {ref}")
        self.connected[key] = settings

    def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        del self.connected[self._networks.get(ref).name, self._containers.get(container).name]


class FakeSystem:
    def info(self) -> SystemInfo:
        return SystemInfo(
            id="ID",
            name="host",
            version="9.9",
            data_root="/data",
            cgroup_version="2",
            cgroup_driver="cgroupfs",
            kernel_version="6.18",
            operating_system="Linux",
            architecture="amd64",
            cpus=2,
            memory=1 << 30,
            containers=3,
            running=1,
            paused=1,
            stopped=1,
            images=1,
            security_options=("name=seccomp,profile=builtin",),
            warnings=(),
            labels=("a=b",),
            http_proxy="http://me:secret@proxy:3128",
            https_proxy="",
            no_proxy="localhost",
            insecure_registries=("reg:5000", "10.0.0.0/8"),
            registry_mirrors=(),
            debug=False,
            started_ns=1,
            default_runtime="wherry",
            runtimes=("wherry",),
            live_restore=True,
            events_listeners=0,
            goroutines=1,
            file_descriptors=3,
        )


class FakeEngine:
    """Implements ``engine.api.EngineApi``; volumes are real ones if a test gives them."""

    def __init__(self) -> None:
        self.events = FakeEvents()
        self.containers = FakeContainers(self.events)
        self.execs = FakeExecs()
        self.images = FakeImages()
        self.image_store = self.images
        self.networks = FakeNetworks()
        self.attachments = FakeAttachments(self.networks, self.containers)
        self.system = FakeSystem()
        self.builds = FakeBuilds()
        self.volumes: Any = None
