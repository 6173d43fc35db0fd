"""Containers: ``client.containers``, and a handle for each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack

import msgspec

from wherry.client.answers import (
    NO_FILTERS,
    Change,
    ContainerDetails,
    ContainerSummary,
    Created,
    Filters,
    Pruned,
    Top,
    ask,
)
from wherry.client.execs import Completed, Process, collect
from wherry.client.frames import Frame, frames
from wherry.client.images import Images
from wherry.client.session import Session, quote
from wherry.client.settings import Command, Settings, build_config, build_host
from wherry.client.transport import Stream
from wherry.errors import InternalError, NotFound, Unavailable

_POLL = 0.02  # seconds between two looks at a state that nothing announces


class Container:
    """A handle for one container. As a context manager it removes the container at the end."""

    def __init__(self, session: Session, identifier: str) -> None:
        self.id = identifier
        self._session = session
        self._path = f"/containers/{quote(identifier)}"

    def __repr__(self) -> str:
        return f"Container({self.id[:12]})"

    @property
    def short_id(self) -> str:
        return self.id[:12]

    def inspect(self) -> ContainerDetails:
        return ask(self._session, ContainerDetails, "GET", f"{self._path}/json")

    # --- its life

    def start(self) -> None:
        self._session.post(f"{self._path}/start")

    def stop(self, *, timeout: int | None = None, signal: str | None = None) -> None:
        """Wait until it has ended; it is killed after ``timeout`` seconds (the engine's default
        is 10)."""
        self._session.post(f"{self._path}/stop", {"t": timeout, "signal": signal})

    def restart(self, *, timeout: int | None = None) -> None:
        self._session.post(f"{self._path}/restart", {"t": timeout})

    def kill(self, signal: str = "SIGKILL") -> None:
        self._session.post(f"{self._path}/kill", {"signal": signal})

    def pause(self) -> None:
        self._session.post(f"{self._path}/pause")

    def unpause(self) -> None:
        self._session.post(f"{self._path}/unpause")

    def rename(self, name: str) -> None:
        self._session.post(f"{self._path}/rename", {"name": name})

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """``volumes``: its anonymous volumes, too."""
        self._session.delete(self._path, {"force": force, "v": volumes})

    def wait(
        self, condition: Literal["not-running", "next-exit", "removed"] = "not-running"
    ) -> int:
        """Block until it has ended, and return its exit status."""
        return _status(self._session.post(f"{self._path}/wait", {"condition": condition}))

    # --- what it says

    def logs(self) -> Completed:
        """All that it has written, and its present exit code."""
        details = self.inspect()
        pieces = self._logs(details.config.tty, {"follow": False})
        return Completed(details.state.exit_code, *collect(pieces))

    def stream_logs(
        self,
        *,
        follow: bool = True,
        tail: int | Literal["all"] = "all",
        since: float | None = None,
        until: float | None = None,
        timestamps: bool = False,
    ) -> Iterator[Frame]:
        """Pieces of (stream, bytes), to the container's end with ``follow``. ``since`` and
        ``until`` are seconds since the epoch."""
        options = {
            "follow": follow,
            "tail": tail,
            "since": since,
            "until": until,
            "timestamps": timestamps,
        }
        return self._logs(self.inspect().config.tty, options)

    def _logs(self, tty: bool, options: Mapping[str, object]) -> Iterator[Frame]:
        query = {"stdout": True, "stderr": True, **options}
        with self._session.request("GET", f"{self._path}/logs", query) as response:
            yield from frames(response.chunks(), tty=tty)

    def wait_for_log(self, text: str, *, timeout: float = 30.0) -> None:
        """Block until it has written ``text``; Unavailable after ``timeout`` seconds, or if it
        ends before."""
        deadline = time.monotonic() + timeout
        wanted, seen = text.encode(), b""
        query = {"stdout": True, "stderr": True, "follow": True}
        tty = self.inspect().config.tty
        with self._session.request("GET", f"{self._path}/logs", query) as response:
            response.settimeout(timeout)
            for _, data in frames(response.chunks(), tty=tty):
                seen = seen[-len(wanted) :] + data
                if wanted in seen:
                    return
                response.settimeout(max(0.001, deadline - time.monotonic()))
        raise Unavailable(f"container {self.short_id} ended and never wrote {text!r}")

    def wait_healthy(self, *, timeout: float = 60.0) -> None:
        """Block until its health check succeeds; Unavailable if that takes longer, or it ends."""
        deadline = time.monotonic() + timeout
        while (state := self.inspect().state).health.status != "healthy":
            if not state.running or time.monotonic() > deadline:
                what = "did not get healthy in time" if state.running else "has ended"
                raise Unavailable(f"container {self.short_id} {what}")
            time.sleep(_POLL)

    # --- programs in it

    def exec(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        input: bytes = b"",  # noqa: A002  # as subprocess.run has it
        environment: Mapping[str, str] = {},
        working_dir: str = "",
        user: str = "",
    ) -> Completed:
        """Run a program to its end; CommandFailed for another status than 0 if ``check``."""
        body = _exec_body(command, environment, working_dir, user)
        with self._open({**body, "AttachStdin": bool(input)}) as process:
            done = process.communicate(input)
        return done.check(command[0]) if check else done

    def open(
        self,
        command: Sequence[str],
        *,
        tty: bool = False,
        environment: Mapping[str, str] = {},
        working_dir: str = "",
        user: str = "",
    ) -> Process:
        """Start a program and talk with it."""
        body = _exec_body(command, environment, working_dir, user)
        return self._open({**body, "AttachStdin": True, "Tty": tty})

    def _open(self, body: Mapping[str, Any]) -> Process:
        identifier = self._session.post(f"{self._path}/exec", json=body)["Id"]
        start = {"Detach": False, "Tty": body["Tty"]}
        stream = self._session.hijack(f"/exec/{identifier}/start", json=start)
        return Process(self._session, identifier, stream, tty=body["Tty"])

    def attach(self, *, stdin: bool = True, stdout: bool = True, stderr: bool = True) -> Stream:
        """A raw stream; in frames (see ``wherry.client.frames``) unless it has a terminal."""
        query = {"stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr}
        return self._session.hijack(f"{self._path}/attach", query)

    # --- what it has

    def address(self, port: int | str) -> tuple[str, int]:
        """Where a published port is reached, as (address, port); NotFound if it is not."""
        key = str(port) if "/" in str(port) else f"{port}/tcp"
        for binding in self.inspect().network_settings.ports.get(key, ()):
            anywhere = binding.host_ip in ("", "0.0.0.0", "::")  # noqa: S104  # not bound here
            host = "127.0.0.1" if anywhere else binding.host_ip
            return host, int(binding.host_port)
        raise NotFound(f"port {key} of container {self.short_id} is not published")

    def top(self, ps_args: str | None = None) -> Top:
        return ask(self._session, Top, "GET", f"{self._path}/top", {"ps_args": ps_args})

    def diff(self) -> tuple[Change, ...]:
        """What differs from its image."""
        return ask(self._session, tuple[Change, ...], "GET", f"{self._path}/changes")

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.remove(force=True, volumes=True)
        except NotFound:
            pass  # it was removed in the meantime


class Containers:
    """All containers of an engine."""

    def __init__(self, session: Session, images: Images) -> None:
        self._session = session
        self._images = images

    def get(self, name: str) -> Container:
        """A handle by name, id or prefix; NotFound if there is none."""
        details = ask(self._session, ContainerDetails, "GET", f"/containers/{quote(name)}/json")
        return Container(self._session, details.id)

    def list(
        self, *, everything: bool = False, limit: int | None = None, filters: Filters = NO_FILTERS
    ) -> tuple[ContainerSummary, ...]:
        """Newest first; only those that run, unless ``everything``."""
        query = {"all": everything, "limit": limit, "filters": dict(filters) or None}
        return ask(self._session, tuple[ContainerSummary, ...], "GET", "/containers/json", query)

    def create(
        self, image: str, command: Command = None, **settings: Unpack[Settings]
    ) -> Container:
        """Create a container; its image is pulled if it is missing. A command that is one text is
        run by the image's shell."""
        return self._create(build_config(image, command, settings), settings)

    def _create(self, config: object, settings: Settings) -> Container:
        body = {
            **msgspec.to_builtins(config),
            "HostConfig": msgspec.to_builtins(build_host(settings)),
        }
        query = {"name": settings.get("name"), "platform": settings.get("platform")}
        try:
            made = self._post(query, body)
        except NotFound as error:
            if "no such image" not in str(error).lower():
                raise
            self._images.pull(body["Image"], platform=settings.get("platform", ""))
            made = self._post(query, body)
        return Container(self._session, made)

    def _post(self, query: Mapping[str, object], body: object) -> str:
        made = ask(self._session, Created, "POST", "/containers/create", query, json=body)
        return made.id

    def launch(
        self, image: str, command: Command = None, **settings: Unpack[Settings]
    ) -> Container:
        """Create and start; nothing stays if it cannot be started.

        ``with client.containers.launch("redis", ports={6379: None}) as redis: ...``
        """
        container = self.create(image, command, **settings)
        try:
            container.start()
        except BaseException:
            container.__exit__()
            raise
        return container

    def run(
        self,
        image: str,
        command: Command = None,
        *,
        check: bool = True,
        input: bytes = b"",  # noqa: A002  # as subprocess.run has it
        **settings: Unpack[Settings],
    ) -> Completed:
        """Run to the end, remove the container, and give its status and output.

        CommandFailed for a status other than 0 if ``check``.
        """
        config = build_config(image, command, settings)
        interactive = msgspec.structs.replace(
            config,
            attach_stdin=bool(input),
            open_stdin=bool(input),
            stdin_once=bool(input),
            attach_stdout=True,
            attach_stderr=True,
        )
        with self._create(interactive, settings) as container:
            with container.attach(stdin=bool(input)) as stream:
                container.start()
                output = collect(frames(stream.communicate(input), tty=config.tty))
            done = Completed(container.wait(), *output)
        return done.check(image) if check else done

    def prune(self, *, filters: Filters = NO_FILTERS) -> Pruned:
        """Remove all that have ended."""
        query = {"filters": dict(filters) or None}
        return ask(self._session, Pruned, "POST", "/containers/prune", query)


def _exec_body(
    command: Sequence[str], environment: Mapping[str, str], working_dir: str, user: str
) -> dict[str, Any]:
    return {
        "Cmd": list(command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "WorkingDir": working_dir,
        "User": user,
        "Tty": False,
        "AttachStdout": True,
        "AttachStderr": True,
    }


def _status(answer: Mapping[str, object]) -> int:
    problem = answer.get("Error")
    if isinstance(problem, dict) and problem.get("Message"):
        raise InternalError(str(problem["Message"]))
    return int(str(answer["StatusCode"]))
