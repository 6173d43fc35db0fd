"""The processor architectures that a filter tells apart."""

# No "from __future__ import annotations" here: a NamedTuple would compile them one by one, which is
# most of the time that importing this takes.

from typing import NamedTuple

from wherry.errors import InvalidArgument, NotSupported

X32_BIT = 0x40000000  # __X32_SYSCALL_BIT, asm/unistd.h


class Architecture(NamedTuple):
    """``audit`` is what the kernel reports (AUDIT_ARCH_*, linux/audit.h); ``offset`` is added to
    the numbers in the table; ``wide`` says that arguments have 64 bits."""

    name: str
    table: str
    audit: int
    offset: int
    wide: bool


_X86_64 = 0xC000003E

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("SCMP_ARCH_X86_64", "x86_64", _X86_64, 0, True),
        Architecture("SCMP_ARCH_X32", "x32", _X86_64, X32_BIT, True),
        Architecture("SCMP_ARCH_X86", "i386", 0x40000003, 0, False),
        Architecture("SCMP_ARCH_AARCH64", "aarch64", 0xC00000B7, 0, True),
        Architecture("SCMP_ARCH_ARM", "arm", 0x40000028, 0, False),
    )
}

# In the runtime specification, and never met by a process on the machines Wherry runs on.
_FOREIGN_NAMES = """
    MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64
    RISCV64 LOONGARCH64 M68K SH SHEB
"""
_FOREIGN = frozenset(f"SCMP_ARCH_{name}" for name in _FOREIGN_NAMES.split())

NAMES = _FOREIGN | ARCHITECTURES.keys()

_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def native(machine: str) -> Architecture:
    """The architecture of ``machine`` as uname(2) names it; NotSupported for others."""
    try:
        return ARCHITECTURES[_NATIVE[machine]]
    except KeyError:
        raise NotSupported(f"seccomp filters are not supported on {machine} processors") from None


def chosen(names: tuple[str, ...], machine: str) -> tuple[Architecture, ...]:
    """The architectures a filter covers: the machine's own first, then those in ``names``.

    Architectures that this machine cannot execute are left out. InvalidArgument if a name is
    none of the runtime specification's.
    """
    found = [native(machine)]
    for name in names:
        if name in _FOREIGN:
            continue
        if name not in NAMES:
            raise InvalidArgument(f"unknown architecture {name!r} in the seccomp profile")
        if ARCHITECTURES[name] not in found:
            found.append(ARCHITECTURES[name])
    return tuple(found)
