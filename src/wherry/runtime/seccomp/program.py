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


def shared(piece: Piece) -> Piece:
    """A program that does the same, where all paths that go on alike use the same instructions:
    the kernel's work when it loads a filter grows with its length."""
    layout = _Layout()
    at = [0] * len(piece)
    for index in range(len(piece) - 1, -1, -1):
        one = piece[index]
        if one.code == BPF_JA:
            at[index] = at[index + 1 + one.value]
        elif one.code == BPF_RET:
            at[index] = layout.place(one, ())
        else:
            then = at[index + 1 + one.jump_true], at[index + 1 + one.jump_false]
            at[index] = layout.place(one, then)
    return tuple(reversed(layout.placed))


class _Layout:
    """Instructions from the last to the first; a place among them is counted from the end."""

    def __init__(self) -> None:
        self.placed: list[Instruction] = []
        self._places: dict[tuple[int, int, tuple[int, ...]], int] = {}
        self._nearest: dict[int, int] = {}  # what has been put nearer, by its first place

    def place(self, one: Instruction, then: tuple[int, ...]) -> int:
        """Where it is that goes on at ``then``; put before all others unless it is among them."""
        key = (one.code, one.value, then)
        if key not in self._places:
            if one.code in (BPF_LD_W_ABS, BPF_AND):
                self._lead_to(then[0])
            elif one.code != BPF_RET:
                near = [self._near(place) for place in then]
                one = test(one.code, one.value, *(self._distance(place) for place in near))
            self._places[key] = self._put(one)
        return self._places[key]

    def _put(self, one: Instruction) -> int:
        self.placed.append(one)
        return len(self.placed) - 1

    def _distance(self, place: int) -> int:
        """Instructions between the next that is put and one that has been."""
        return len(self.placed) - 1 - place

    def _lead_to(self, place: int) -> None:
        """See that what is put next is followed by what is at ``place``."""
        if self._distance(place):
            self._put(jump(self._distance(place)))

    def _near(self, place: int) -> int:
        """The same place, or a copy of an answer or a jump that eight bits reach, also when one
        more is put between."""
        nearest = self._nearest.get(place, place)
        if self._distance(nearest) > 254:
            there = self.placed[place]
            nearest = self._put(there if there.code == BPF_RET else jump(self._distance(place)))
            self._nearest[place] = nearest
        return nearest


def pack(piece: Piece) -> bytes:
    """The instructions as an array of ``struct sock_filter``."""
    return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in piece)
