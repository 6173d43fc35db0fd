"""The processes of a container, as ``ps`` would show them."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import time
from collections.abc import Iterable

import msgspec

from wherry.errors import InvalidArgument, NotSupported

Titles = tuple[str, ...]
Rows = tuple[tuple[str, ...], ...]

_TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_PS_SECONDS = 10


def process_table(pids: Iterable[int], ps_args: str) -> tuple[Titles, Rows]:
    """``ps -ef`` is read from /proc; any other arguments need the host's ``ps``."""
    if ps_args in ("", "-ef"):
        return _TITLES, _from_proc(pids)
    return _from_ps(set(pids), ps_args)


def _from_proc(pids: Iterable[int]) -> Rows:
    rows = []
    for pid in sorted(pids):
        try:
            rows.append(_row(_read(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return tuple(rows)


class _Stat(msgspec.Struct, frozen=True):
    """The fields of proc_pid_stat(5) that are shown; times in clock ticks."""

    pid: int
    uid: int
    ppid: int
    tty: int
    cpu_ticks: int
    start_ticks: int
    command: str


def _read(pid: int) -> _Stat:
    directory = f"/proc/{pid}"
    with open(f"{directory}/stat", encoding="utf-8", errors="replace") as file:
        name, _, rest = file.read().partition("(")[2].rpartition(")")
    fields = rest.split()
    with open(f"{directory}/cmdline", "rb") as file:
        command = file.read(4096).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    return _Stat(
        pid=pid,
        uid=os.stat(directory).st_uid,
        ppid=int(fields[1]),
        tty=int(fields[4]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start_ticks=int(fields[19]),
        command=command or f"[{name}]",
    )


def _row(stat: _Stat) -> tuple[str, ...]:
    hertz = os.sysconf("SC_CLK_TCK")
    seconds = stat.cpu_ticks // hertz
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = max(uptime - stat.start_ticks / hertz, 0.01)
    started = time.localtime(time.time() - age)
    return (
        _user(stat.uid),
        str(stat.pid),
        str(stat.ppid),
        str(min(99, int(100 * stat.cpu_ticks / hertz / age))),
        time.strftime("%H:%M" if age < 86400 else "%b%d", started),
        _terminal(stat.tty),
        f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
        stat.command,
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _terminal(device: int) -> str:
    if device == 0:
        return "?"
    # UNIX98 pseudo-terminals have major numbers 136 to 143.
    return f"pts/{os.minor(device) + (os.major(device) - 136) * 256}"


def _from_ps(pids: set[int], ps_args: str) -> tuple[Titles, Rows]:
    try:
        words = shlex.split(ps_args)
        done = subprocess.run(
            ["ps", *words], capture_output=True, text=True, timeout=_PS_SECONDS, check=False
        )
    except ValueError as error:
        raise InvalidArgument(f"invalid ps arguments {ps_args!r}: {error}") from None
    except FileNotFoundError:
        raise NotSupported(
            "ps arguments need the program ps (package procps) on the host"
        ) from None
    if done.returncode:
        complaint = done.stderr.strip().partition("\n")[0]  # its help follows
        raise InvalidArgument(f"ps: {complaint}")
    lines = done.stdout.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    split = (tuple(line.split(None, len(titles) - 1)) for line in lines[1:])
    rows = (row for row in split if len(row) > column and row[column].isdigit())
    return titles, tuple(row for row in rows if int(row[column]) in pids)
