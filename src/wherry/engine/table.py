"""All containers of the engine: in memory, written through to the database."""

from __future__ import annotations

import re
import select
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from socket import socket

import msgspec

from wherry.engine.containers.waiting import Condition, Waiters, settled
from wherry.engine.ids import new_name
from wherry.engine.records import Container, State, WaitResult
from wherry.errors import Conflict, InvalidArgument, NotFound
from wherry.runtime.api import Process
from wherry.store.database import Database

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SCHEMA = ["CREATE TABLE containers (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID"]


class PendingAttach(msgspec.Struct, frozen=True):
    """The engine's end of a stream that a container's start makes live."""

    stream: socket
    stdin: bool
    stdout: bool
    stderr: bool


def is_hung_up(stream: socket) -> bool:
    """Whether the other end of a stream was closed, not only for writing."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


class Entry:
    """One container as the engine holds it: its record, its process, and those who wait for it.

    ``lock`` serialises what changes the container. Reading ``record`` needs no lock: it is a
    frozen value that is replaced as a whole.
    """

    def __init__(self, record: Container) -> None:
        self.record = record
        self.lock = threading.RLock()
        self.tree = threading.Lock()
        """Held while the files of a container that does not run are open, and during a start:
        overlayfs forbids two mounts of one writable layer. Taken before ``lock``, never after."""
        self.waiters = Waiters()
        self.process: Process | None = None
        self.pending_attach: PendingAttach | None = None
        self.generation = 0
        """Counts starts, so that a timer or an exit of an earlier run is recognised."""

    @property
    def id(self) -> str:
        return self.record.id

    def take_pending_attach(self) -> PendingAttach | None:
        """The stream of a client that attached before the start; it is passed on only once."""
        taken, self.pending_attach = self.pending_attach, None
        return taken

    def wait(self, condition: Condition) -> Future[WaitResult]:
        with self.lock:
            state = self.record.state
            if condition == "not-running" and not state.running:
                return settled(WaitResult(exit_code=state.exit_code, error=state.error))
            return self.waiters.add(condition)


class ContainerTable:
    """Finds containers by id, prefix and name; keeps names unique."""

    def __init__(self, db: Database) -> None:
        db.migrate("containers", _SCHEMA)
        self._db = db
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self._encoder = msgspec.json.Encoder()

    def load(self) -> None:
        """Read what an earlier engine process wrote."""
        decoder = msgspec.json.Decoder(Container)
        for (blob,) in self._db.query("SELECT record FROM containers"):
            record = decoder.decode(blob)
            self._entries[record.id] = Entry(record)
            self._names[record.name] = record.id

    def find(self, ref: str) -> Entry:
        """By id, name or prefix of the id, in this order, as Docker does."""
        text = ref.removeprefix("/")
        with self._lock:
            found = self._entries.get(text) or self._entries.get(self._names.get(text, ""))
            if found:
                return found
            matches = [e for key, e in self._entries.items() if text and key.startswith(text)]
        if len(matches) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {text}")
        if not matches:
            raise NotFound(f"No such container: {ref}")
        return matches[0]

    def __iter__(self) -> Iterator[Entry]:
        with self._lock:
            return iter(list(self._entries.values()))

    def reserve_name(self, wanted: str, container_id: str) -> str:
        """Take a name for a container that is being made or renamed; a new one if not given."""
        name = wanted.removeprefix("/")
        if wanted and not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )
        with self._lock:
            name = name or new_name(self._names.__contains__)
            holder = self._names.get(name)
            if holder is not None and holder != container_id:
                raise Conflict(
                    f'Conflict. The container name "/{name}" is already in use by container '
                    f'"{holder}". You have to remove (or rename) that container to be able to '
                    "reuse that name."
                )
            self._names[name] = container_id
        return name

    def release_name(self, name: str, container_id: str) -> None:
        with self._lock:
            if self._names.get(name) == container_id:
                del self._names[name]

    def add(self, record: Container) -> Entry:
        self._write(record)
        entry = Entry(record)
        with self._lock:
            self._entries[record.id] = entry
        return entry

    def save(self, entry: Entry, record: Container) -> None:
        """Replace an entry's record, on disk first."""
        self._write(record)
        entry.record = record

    def set_state(self, entry: Entry, state: State) -> None:
        self.save(entry, msgspec.structs.replace(entry.record, state=state))

    def discard(self, entry: Entry) -> None:
        """Forget a container for good."""
        self._db.execute("DELETE FROM containers WHERE id = ?", entry.id)
        with self._lock:
            self._entries.pop(entry.id, None)
            if self._names.get(entry.record.name) == entry.id:
                del self._names[entry.record.name]

    def _write(self, record: Container) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO containers (id, record) VALUES (?, ?)",
            record.id,
            self._encoder.encode(record),
        )
