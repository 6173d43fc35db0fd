"""Seccomp filters: profiles, and the programs the kernel runs for them.

Profiles are made by :mod:`wherry.runtime.seccomp.profile` (the default one) and
:mod:`wherry.runtime.seccomp.docker` (files in Docker's format); they are not imported here, since
the launcher compiles filters and needs no profiles.
"""

from wherry.runtime.seccomp.actions import filter_flags, needs_listener
from wherry.runtime.seccomp.compiler import compile_filter

__all__ = ["compile_filter", "filter_flags", "needs_listener"]
