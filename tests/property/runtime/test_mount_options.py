"""Mount options agree with a second reading of them, written from the specification alone.

config.md, "Linux mount options", and mount_setattr(2): the last word about a flag counts; of the
access times one counts at a time; what is not known is data, in its order.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.runtime.plan.mount_options import NAMES, parse_options

# include/uapi/linux/mount.h
RDONLY, NOSUID, NODEV, NOEXEC, NODIRATIME, NOSYMFOLLOW = 0x1, 0x2, 0x4, 0x8, 0x80, 0x200000
TIMES, RELATIME, NOATIME, STRICTATIME = 0x70, 0x00, 0x10, 0x20
PAIRS = {
    "ro": (RDONLY, "rw"),
    "nosuid": (NOSUID, "suid"),
    "nodev": (NODEV, "dev"),
    "noexec": (NOEXEC, "exec"),
    "nodiratime": (NODIRATIME, "diratime"),
    "nosymfollow": (NOSYMFOLLOW, "symfollow"),
}
TIME_OF = {
    "relatime": RELATIME,
    "noatime": NOATIME,
    "atime": RELATIME,
    "strictatime": STRICTATIME,
    "nostrictatime": RELATIME,
}
PROPAGATION = {
    "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20, "unbindable": 1 << 17
}  # fmt: skip
MS_REC = 1 << 14

options = st.lists(
    st.sampled_from(NAMES)
    | st.sampled_from(["", "size=64k", "mode=755", "rsize=8", "RO", "ro ", "r", "rr", "rrw2"])
    | st.text("abcdr=,\0", max_size=6),
    max_size=12,
)


def last_words(words: list[str], prefix: str) -> dict[int, bool]:
    """For each flag that is spoken of, whether it is to be set."""
    said: dict[int, bool] = {}
    for word in words:
        for name, (flag, opposite) in PAIRS.items():
            if word in (prefix + name, prefix + opposite):
                said[flag] = word == prefix + name
    return said


def last_time(words: list[str], prefix: str) -> int | None:
    spoken = [TIME_OF[w[len(prefix) :]] for w in words if w[: len(prefix)] == prefix
              and w[len(prefix) :] in TIME_OF]  # fmt: skip
    return spoken[-1] if spoken else None


def check_flags(words: list[str], prefix: str, on: int, off: int) -> None:
    said = last_words(words, prefix)
    assert {flag for flag, wanted in said.items() if wanted} == bits(on & ~TIMES)
    assert {flag for flag, wanted in said.items() if not wanted} == bits(off & ~TIMES)
    time = last_time(words, prefix)
    # The kernel takes a time only if the whole field is cleared with it.
    assert (off & TIMES, on & TIMES) == ((0, 0) if time is None else (TIMES, time))


def bits(mask: int) -> set[int]:
    return {1 << n for n in range(64) if mask >> n & 1}


@settings(max_examples=examples(400), deadline=None)
@given(options)
def test_options_are_read_as_the_specification_says(words: list[str]) -> None:
    found = parse_options(words)
    own = [w for w in words if not (w[:1] == "r" and w[1:] and w in recursive())]
    check_flags(own, "", found.attr_set, found.attr_clr)
    check_flags([w for w in words if w in recursive()], "r", found.all_set, found.all_clr)
    assert found.bind == bool({"bind", "rbind"} & set(words))
    assert found.recursive == ("rbind" in words)
    assert found.remount == ("remount" in words)
    assert found.copy_up == ("tmpcopyup" in words)
    assert found.data == ",".join(w for w in words if w and w not in NAMES)
    assert list(found.propagation) == [flags(w) for w in words if flags(w)]


def recursive() -> set[str]:
    """``rro`` and the like; ``rw``, ``ro`` and ``relatime`` only look so."""
    names = {*PAIRS, *(opposite for _, opposite in PAIRS.values()), *TIME_OF, "norelatime"}
    return {"r" + name for name in names}


def flags(word: str) -> int:
    if word in PROPAGATION:
        return PROPAGATION[word]
    if word[:1] == "r" and word[1:] in PROPAGATION:
        return PROPAGATION[word[1:]] | MS_REC
    return 0
