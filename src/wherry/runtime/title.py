"""What ps(1) shows for a process of the runtime."""

from __future__ import annotations

import ctypes

from wherry.sys.process import set_name


class Title:
    """The memory in which the kernel keeps the command line: it may be written over in place."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        self._start, self._end = int(fields[45]), int(fields[46])  # arg_start, arg_end

    def set(self, title: str, name: str) -> None:
        """Show ``title`` as the command line (cut to the room there is) and ``name`` as the
        thread's name (15 bytes)."""
        set_name(name)
        room = self._end - self._start
        if room > 1:
            text = title.encode()[: room - 1]
            ctypes.memmove(self._start, text.ljust(room, b"\0"), room)
