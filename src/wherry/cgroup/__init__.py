"""Limits: the kernel's control groups behind one small interface."""

from wherry.cgroup.host import open_cgroups

__all__ = ["open_cgroups"]
