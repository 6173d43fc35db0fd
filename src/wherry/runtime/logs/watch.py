"""Who waits for changes in which directory: one inotify(7) instance for the whole process.

A user may have few instances (128 by default), and there may be more followers than that. So one
thread reads the events of all and wakes those concerned, each by an eventfd(2) of its own. It ends
with the last of them.
"""

from __future__ import annotations

import os
import select
import threading

from wherry.sys.files import (
    IN_CREATE,
    IN_MODIFY,
    IN_MOVED_TO,
    IN_ONLYDIR,
    inotify_add_watch,
    inotify_events,
    inotify_init1,
    inotify_rm_watch,
)

_MASK = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR
_BLOCK = 64 * 1024
_PAUSE = 3
"""Milliseconds between two looks: writers that write all the time make an event for each write."""


class Watch:
    """``fd`` becomes readable when something in the directory may have changed."""

    def __init__(self, watches: _Watches, number: int) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.number = number
        self._watches = watches

    def forget(self) -> None:
        """Make it wait for the next change."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass

    def wake(self) -> None:
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            self._watches.remove(self)
            os.close(self.fd)
            self.fd = -1


class _Watches:
    """The waiters by the watch descriptor of their directory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inotify = -1
        self._waiters: dict[int, set[Watch]] = {}

    def add(self, directory: str) -> Watch:
        """OSError, if the directory cannot be watched."""
        with self._lock:
            if self._inotify < 0:
                self._start()
            try:
                number = inotify_add_watch(self._inotify, directory, _MASK)
                watch = Watch(self, number)
            except OSError:
                if not self._waiters:
                    self._stop()
                raise
            self._waiters.setdefault(number, set()).add(watch)
            return watch

    def remove(self, watch: Watch) -> None:
        with self._lock:
            waiters = self._waiters.get(watch.number, set())
            waiters.discard(watch)
            if waiters:
                return
            self._waiters.pop(watch.number, None)
            try:
                inotify_rm_watch(self._inotify, watch.number)
            except OSError:
                pass  # the directory is gone, and its watch with it
            if not self._waiters:
                self._stop()

    def _start(self) -> None:
        self._inotify = inotify_init1()
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self._end = theirs
        arguments = (self._inotify, ours)
        threading.Thread(target=self._run, args=arguments, daemon=True, name="watches").start()

    def _stop(self) -> None:
        """The thread closes what it reads from."""
        os.close(self._end)
        self._inotify = -1

    def _run(self, inotify: int, end: int) -> None:
        poll = select.poll()
        poll.register(inotify, select.POLLIN)
        poll.register(end, 0)
        pause = select.poll()
        pause.register(end, 0)
        try:
            while not any(fd == end for fd, _ in poll.poll()):
                self._dispatch(inotify, os.read(inotify, _BLOCK))
                pause.poll(_PAUSE)
        finally:
            os.close(inotify)
            os.close(end)

    def _dispatch(self, inotify: int, data: bytes) -> None:
        with self._lock:
            if self._inotify != inotify:
                return
            changed = {number for number, _, _ in inotify_events(data)}
            # -1 tells that events were lost: everybody looks
            for number in self._waiters if -1 in changed else changed:
                for watch in self._waiters.get(number, ()):
                    watch.wake()


_ALL = _Watches()


def watch_directory(directory: str) -> Watch:
    """Wait for changes of files in a directory; to be closed. OSError."""
    return _ALL.add(directory)
