"""Programs in which paths that go on alike share their instructions do what they did before."""

from __future__ import annotations

import random

from wherry.runtime.seccomp import program as bpf


def result(piece: bpf.Piece, words: dict[int, int]) -> int:
    """What a program answers to a call; every step is checked to lead forward, and into it."""
    place, held = 0, 0
    while True:
        code, if_true, if_false, value = piece[place]
        place += 1
        if code == bpf.BPF_RET:
            return value
        if code == bpf.BPF_LD_W_ABS:
            held = words[value]
        elif code == bpf.BPF_AND:
            held &= value
        elif code == bpf.BPF_JA:
            place += value
        else:
            holds = {
                bpf.BPF_JEQ: held == value,
                bpf.BPF_JGT: held > value,
                bpf.BPF_JGE: held >= value,
            }[code]
            assert 0 <= if_true <= 255
            assert 0 <= if_false <= 255
            place += if_true if holds else if_false


def tree(low: int, high: int, answers: int) -> bpf.Piece:
    """A different number leads to another answer, or to a second word's test first."""
    if high - low == 1:
        plain = bpf.answer(low % answers)
        if low % 7:
            return plain
        return (bpf.load(8), bpf.mask(3), *bpf.when_equal(1, bpf.answer(99), plain))
    middle = (low + high) // 2
    return bpf.when_at_least(middle, tree(middle, high, answers), tree(low, middle, answers))


def test_answers_are_the_same_however_far_they_are() -> None:
    draw = random.Random(3)
    for size in (1, 2, 5, 130, 700):
        for answers in (1, 3, 50):
            whole = (bpf.load(0), *tree(0, size, answers))
            shorter = bpf.shared(whole)
            assert len(shorter) <= len(whole)
            for number in (*range(size), *(draw.randrange(1 << 32) for _ in range(20))):
                words = {0: number, 8: draw.randrange(4)}
                assert result(shorter, words) == result(whole, words)


def test_each_answer_is_there_once_where_it_can_be_reached() -> None:
    shorter = bpf.shared((bpf.load(0), *tree(0, 100, 3)))
    answers = [one.value for one in shorter if one.code == bpf.BPF_RET]
    assert sorted(answers) == [0, 1, 2, 99]
