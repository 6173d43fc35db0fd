"""Pieces of classic BPF programs for seccomp (``linux/filter.h``, ``linux/bpf_common.h``).

A piece is a tuple of instructions of which every path ends in a return, or which falls through at
its end; pieces are joined by plain concatenation, because jumps only go forward.
"""

# No "from __future__ import annotations" here: a NamedTuple would compile them one by one, which is
# most of the time that importing this takes.

import struct
from typing import NamedTuple

BPF_LD_W_ABS = 0x20
BPF_JA = 0x05
BPF_JEQ = 0x15
BPF_JGT = 0x25
BPF_JGE = 0x35
BPF_AND = 0x54
BPF_RET = 0x06

BPF_MAXINSNS = 4096

# Offsets into struct seccomp_data (linux/seccomp.h); little-endian machines only.
OFFSET_NUMBER = 0
OFFSET_ARCH = 4
OFFSET_ARGS = 16

_SOCK_FILTER = struct.Struct("=HBBI")


class Instruction(NamedTuple):
    """``struct sock_filter``: jumps are counted in instructions after this one."""

    code: int
    jump_true: int
    jump_false: int
    value: int


Piece = tuple[Instruction, ...]


def load(offset: int) -> Instruction:
    """Load a 32-bit word of the call's data into the accumulator."""
    return Instruction(BPF_LD_W_ABS, 0, 0, offset)


def mask(value: int) -> Instruction:
    return Instruction(BPF_AND, 0, 0, value)


def test(code: int, value: int, if_true: int, if_false: int) -> Instruction:
    """Compare the accumulator and skip ``if_true`` or ``if_false`` instructions."""
    return Instruction(code, if_true, if_false, value)


def answer(value: int) -> Piece:
    """End the filter with a ``SECCOMP_RET_*`` value."""
    return (Instruction(BPF_RET, 0, 0, value),)


def when_equal(value: int, then: Piece, otherwise: Piece) -> Piece:
    """Choose by the accumulator being ``value``; a jump's offset has only eight bits."""
    if len(then) <= 255:
        return (test(BPF_JEQ, value, 0, len(then)), *then, *otherwise)
    return (test(BPF_JEQ, value, 1, 0), jump(len(then)), *then, *otherwise)


def when_at_least(value: int, then: Piece, otherwise: Piece) -> Piece:
    """Choose by the accumulator being ``value`` or more, unsigned."""
    if len(otherwise) <= 255:
        return (test(BPF_JGE, value, len(otherwise), 0), *otherwise, *then)
    return (test(BPF_JGE, value, 0, 1), jump(len(otherwise)), *otherwise, *then)


def jump(distance: int) -> Instruction:
    return Instruction(BPF_JA, 0, 0, distance)


def pack(piece: Piece) -> bytes:
    """The instructions as an array of ``struct sock_filter``."""
    return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in piece)
