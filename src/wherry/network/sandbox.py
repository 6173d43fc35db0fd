"""Network namespaces of containers, held by descriptor, and a pool of ready ones.

A new namespace takes about a millisecond, most of it in the kernel. A few are kept ready, each
with its loopback up, its settings made and a routing socket that was opened inside, so that
nothing on the way to a container's start has to enter a namespace.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from wherry.errors import InternalError, NotFound, NotSupported, WherryError
from wherry.network import sysctl
from wherry.sys.namespaces import CLONE_NEWNET, setns, unshare
from wherry.sys.netlink.route import RouteConnection

Result = TypeVar("Result")

_PAUSE = 0.05  # seconds
_OWN = "/proc/thread-self/ns/net"
# What dockerd sets in a container's namespace; and no IPv6 on an interface before it is asked for.
_SETTINGS = {
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/ping_group_range": "0 2147483647",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv6/conf/default/accept_ra": "0",
}


def open_own_namespace() -> int:
    """A descriptor of the calling thread's network namespace. The caller closes it."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def run_inside(netns_fd: int, work: Callable[[], Result]) -> Result:
    """Do something in a network namespace, in a thread that ends with it; raises what it raises."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            setns(netns_fd, CLONE_NEWNET)
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    thread = threading.Thread(target=enter, name="wherry-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class NetnsSandbox:
    """A namespace that lives while this, or a process in it, does."""

    def __init__(self, netns_fd: int, route: RouteConnection | None = None) -> None:
        """Takes over both; without ``route`` a socket is opened inside when it is needed."""
        self._fd = netns_fd
        self._route = route
        self._names: set[str] | None = {"lo"} if route else None
        self._routed: set[int] | None = set() if route else None
        self.lock = threading.RLock()
        """Held while an interface is added."""

    @property
    def netns_fd(self) -> int:
        return self._fd

    @property
    def route(self) -> RouteConnection:
        """The routing socket inside."""
        with self.lock:
            if self._route is None:
                self._route = run_inside(self._fd, RouteConnection)
            return self._route

    def free_name(self, prefix: str) -> str:
        """``eth0``, or the first of that kind that is not there."""
        with self.lock:
            if self._names is None:
                self._names = {link.name for link in self.route.links()}
            names = self._names
            return next(
                name for n in range(len(names) + 1) if (name := f"{prefix}{n}") not in names
            )

    def note(self, name: str) -> None:
        """An interface was added."""
        with self.lock:
            if self._names is not None:
                self._names.add(name)

    def look_again(self) -> None:
        """What was known of the interfaces inside is not so."""
        with self.lock:
            self._names = self._routed = None

    def claim_default_route(self, version: int) -> bool:
        """True for the first network of a sandbox: its gateway leads everywhere."""
        with self.lock:
            if self._routed is None:
                routes = self.route.routes()
                self._routed = {one.version for one in routes if one.destination is None}
            first = version not in self._routed
            self._routed.add(version)
            return first

    def enable_ipv6(self, interface: str) -> None:
        """Without waiting for duplicate address detection: the engine gives each address once."""

        def settings() -> None:
            sysctl.write(f"ipv6/conf/{interface}/accept_dad", "0")
            sysctl.write(f"ipv6/conf/{interface}/disable_ipv6", "0")

        run_inside(self._fd, settings)

    def close(self) -> None:
        with self.lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            if self._route:
                self._route.close()
                self._route = None


def open_sandbox(pid: int) -> NetnsSandbox:
    """The namespace of a running process; NotFound if it has ended."""
    try:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"cannot open the network namespace of process {pid}: {error}") from error
    return NetnsSandbox(fd)


def adopt_sandbox(netns_fd: int) -> NetnsSandbox:
    """A fresh namespace that somebody else has made, set up; takes over the descriptor. OSError."""
    try:
        return run_inside(netns_fd, lambda: _furnish(netns_fd))
    except BaseException:
        os.close(netns_fd)
        raise


def _make() -> NetnsSandbox:
    """A new sandbox; leaves the calling thread inside."""
    unshare(CLONE_NEWNET)
    fd = open_own_namespace()
    try:
        return _furnish(fd)
    except BaseException:
        os.close(fd)
        raise


def _furnish(fd: int) -> NetnsSandbox:
    """Set up the namespace that the calling thread is in."""
    route = RouteConnection()
    try:
        route.take_up("lo")
        for name, value in _SETTINGS.items():
            sysctl.write(name, value)
        return NetnsSandbox(fd, route)
    except BaseException:
        route.close()
        raise


class SandboxPool:
    """Keeps a few sandboxes ready, made by one thread."""

    def __init__(self, size: int = 4, on_refill: Callable[[], None] = lambda: None) -> None:
        """``on_refill`` is called in the pool's thread whenever it has filled up."""
        self._size = size
        self._on_refill = on_refill
        self._ready: deque[NetnsSandbox] = deque()
        self._waiting = 0
        self._closed = False
        self._error: WherryError | None = None
        self._changed = threading.Condition()
        self._home = open_own_namespace()
        self._thread = threading.Thread(target=self._run, name="wherry-sandboxes", daemon=True)
        self._thread.start()

    def take(self) -> NetnsSandbox:
        """A fresh sandbox; waits for one to be made if none is ready. NotSupported."""
        with self._changed:
            self._waiting += 1
            self._error = None
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._ready or self._closed or self._error)
            finally:
                self._waiting -= 1
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            raise self._error or InternalError("cannot make a network sandbox: the engine stops")

    def _run(self) -> None:
        while self._wait_for_work():
            sandbox, error = self._try_to_make()
            with self._changed:
                self._error = error
                if sandbox:
                    self._ready.append(sandbox)
                self._changed.notify_all()
                full = len(self._ready) >= self._size
            if full:
                self._on_refill()
        while self._ready:
            self._ready.popleft().close()
        os.close(self._home)

    def _wait_for_work(self) -> bool:
        """False when the pool is closed. After an error only a new request is worth a try.

        The next start is hardly ever at once, and the present one has better use for the
        processor: a taken sandbox is replaced after a pause, unless somebody waits.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._wants_more())
            self._changed.wait_for(lambda: self._closed or self._is_urgent(), _PAUSE)
            return not self._closed

    def _is_urgent(self) -> bool:
        return self._waiting > len(self._ready)

    def _wants_more(self) -> bool:
        if self._error:
            return False
        return len(self._ready) < max(self._size, self._waiting)

    def _try_to_make(self) -> tuple[NetnsSandbox | None, WherryError | None]:
        try:
            try:
                return _make(), None
            finally:
                setns(self._home, CLONE_NEWNET)
        except OSError as error:
            return None, NotSupported(f"cannot make a network namespace: {error}")

    def close(self) -> None:
        """Idempotent; returns when the thread has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
