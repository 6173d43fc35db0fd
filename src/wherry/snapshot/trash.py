"""Directories that are to vanish: moved away at once, deleted by a thread.

The move is one rename, so that removing a container does not wait for the deletion of its files.
What a crash interrupts is deleted when the next engine starts.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from uuid import uuid4

from wherry.fs.remove import remove_tree
from wherry.sys.faults import reach


class Trash:
    """One directory of doomed directories, on the file system of those that go there."""

    def __init__(self, directory: str, on_error: Callable[[str, OSError], None] | None = None):
        """Makes the directory, and begins to delete what is in it. ``on_error`` is called with a
        name that could not be deleted, from the thread; it is tried again at the next start."""
        self._directory = directory
        self._on_error = on_error
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._left = 0
        self._thread: threading.Thread | None = None
        os.makedirs(directory, 0o700, exist_ok=True)
        for name in os.listdir(directory):
            self._enqueue(name)

    def throw(self, path: str) -> None:
        """Take a directory away, at once; nothing happens if it is not there."""
        name = uuid4().hex
        try:
            os.rename(path, f"{self._directory}/{name}")
        except FileNotFoundError:
            return
        reach("trash.thrown")
        self._enqueue(name)

    def drain(self) -> None:
        """Wait until all that was thrown away is deleted."""
        with self._idle:
            self._idle.wait_for(lambda: self._left == 0)

    def close(self) -> None:
        """Finish and end the thread. Idempotent."""
        self.drain()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _enqueue(self, name: str) -> None:
        with self._idle:
            self._left += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trash", daemon=True)
                self._thread.start()
        self._queue.put(name)

    def _run(self) -> None:
        while (name := self._queue.get()) is not None:
            path = f"{self._directory}/{name}"
            try:
                remove_tree(path)
                reach("trash.deleted")
            except OSError as error:
                if self._on_error is not None:
                    self._on_error(path, error)
            with self._idle:
                self._left -= 1
                self._idle.notify_all()
