"""What ps(1) shows for a process of the runtime."""

from __future__ import annotations

import os


class Title:
    """The memory in which the kernel keeps a command line: it may be written over in place.

    It is at the same address in all forks of a process.
    """

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        self._start, self._end = int(fields[45]), int(fields[46])  # arg_start, arg_end

    def set(self, title: str, pid: int | str = "self") -> None:
        """Show ``title``, cut to the room there is, as the command line of this process or of a
        fork of it. Where that is not allowed nothing is changed."""
        room = self._end - self._start
        text = title.encode()[: room - 1].ljust(room, b"\0")
        try:
            memory = os.open(f"/proc/{pid}/mem", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            os.pwrite(memory, text, self._start)
        except OSError:
            pass
        finally:
            os.close(memory)


def set_own_name(name: bytes) -> None:
    """Set the name of this thread, at most 15 bytes (proc(5), ``comm``)."""
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, name)
    os.close(fd)
