"""bpf(2): device filters of control groups, which are small eBPF programs on cgroup v2.

The commands and structures are those of ``linux/bpf.h``; only what a program of the type
``BPF_PROG_TYPE_CGROUP_DEVICE`` needs is here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2
BPF_F_REPLACE = 4

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_LICENSE = b"Apache-2.0"
_INSTRUCTION_BYTES = 8
_MAX_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS, kernel/bpf/cgroup.c

# The parts of union bpf_attr, one for each command.
_LOAD = struct.Struct("=IIQQIIQII16sII")
_ATTACH = struct.Struct("=IIIII")
_BY_ID = struct.Struct("=III")
_QUERY = struct.Struct("=IIIIQII")

_syscall = ctypes.CDLL(None, use_errno=True)["syscall"]
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long)


def bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2); the kernel may write into ``attributes``. OSError, ENOSYS on unknown machines."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = _syscall(number, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def load_device_program(instructions: bytes) -> int:
    """Verify and load a device filter; the caller closes the descriptor."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_text = ctypes.create_string_buffer(_LICENSE)
    attributes = _LOAD.pack(
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(instructions) // _INSTRUCTION_BYTES,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
        *(0, 0, 0),  # no log of the verifier
        0,
        0,
        b"wherry_devices",
        0,
        BPF_CGROUP_DEVICE,
    )
    return bpf(BPF_PROG_LOAD, ctypes.create_string_buffer(attributes, len(attributes)))


def device_programs(cgroup_fd: int) -> tuple[int, ...]:
    """The ids of the device filters that are attached to the group itself."""
    ids = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attributes = _QUERY.pack(
        cgroup_fd, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MAX_PROGRAMS, 0
    )
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    bpf(BPF_PROG_QUERY, buffer)
    count: int = _QUERY.unpack(buffer.raw)[5]
    return tuple(ids[:count])


def open_program(program_id: int) -> int:
    """A descriptor of a loaded program; the caller closes it."""
    attributes = _BY_ID.pack(program_id, 0, 0)
    return bpf(BPF_PROG_GET_FD_BY_ID, ctypes.create_string_buffer(attributes, len(attributes)))


def attach_device_program(cgroup_fd: int, program_fd: int, replace_fd: int | None = None) -> None:
    """Attach a filter beside those that are there, or in place of ``replace_fd``, atomically."""
    flags = BPF_F_ALLOW_MULTI | (0 if replace_fd is None else BPF_F_REPLACE)
    attributes = _ATTACH.pack(cgroup_fd, program_fd, BPF_CGROUP_DEVICE, flags, replace_fd or 0)
    bpf(BPF_PROG_ATTACH, ctypes.create_string_buffer(attributes, len(attributes)))


def detach_device_program(cgroup_fd: int, program_fd: int) -> None:
    attributes = _ATTACH.pack(cgroup_fd, program_fd, BPF_CGROUP_DEVICE, 0, 0)
    bpf(BPF_PROG_DETACH, ctypes.create_string_buffer(attributes, len(attributes)))
