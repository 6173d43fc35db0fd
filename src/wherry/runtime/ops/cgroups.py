"""Operations that show the container its control groups."""

from __future__ import annotations

import os

from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.rooted import make_in, open_in
from wherry.runtime.plan.mount_options import Options
from wherry.sys import mount as m

_HOST = "/sys/fs/cgroup"


class MountCgroups(Op, frozen=True):
    """Mount the control groups: one cgroup v2 tree, or a tmpfs with one directory for each v1
    hierarchy (cgroups(7)). A v2 tree beside them is not shown, as by runc: it would tell of all the
    host's groups whoever is in none of his own.

    In a cgroup namespace the kernel itself shows only the container's part. Without one, v1
    hierarchies are bound from the host's at the container's group, and the v2 tree is bound whole:
    to mount it in the host's namespace would take the host's own options off it (nsdelegate,
    memory_recursiveprot), which are those of the tree and not of one mount (cgroup-v2.rst).
    """

    target: str
    options: Options
    unified: bool
    namespaced: bool

    def describe(self) -> str:
        return f"mount the control groups on {self.target}"

    def execute(self, setup: Setup) -> None:
        target = make_in(setup.root_fd, self.target, directory=True, created=setup.created)
        here = f"/proc/self/fd/{target}"
        try:
            if self.unified and self.namespaced:
                m.mount("cgroup", here, "cgroup2", self.options.mount_flags)
            elif self.unified:
                self._bind(_HOST, here)
            else:
                flags = self.options.mount_flags & ~m.MS_RDONLY
                m.mount("cgroup", here, "tmpfs", flags, "mode=755")
        finally:
            os.close(target)
        if not self.unified:
            self._mount_hierarchies(setup)

    def _mount_hierarchies(self, setup: Setup) -> None:
        base = open_in(setup.root_fd, self.target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for line in setup.read_proc("self/cgroup").splitlines():
                number, controllers, path = line.split(":", 2)
                self._mount_one(base, number, controllers, path)
            if self.options.attr_set & m.MOUNT_ATTR_RDONLY:
                here = f"/proc/self/fd/{base}"
                m.mount("", here, "", m.MS_REMOUNT | m.MS_BIND | self.options.mount_flags)
        finally:
            os.close(base)

    def _mount_one(self, base: int, number: str, controllers: str, path: str) -> None:
        if number == "0":
            return
        if controllers.startswith("name="):
            name, data = controllers[5:], f"none,{controllers}"
        else:
            name, data = controllers, controllers
        os.mkdir(name, 0o755, dir_fd=base)
        here = f"/proc/self/fd/{base}/{name}"
        if self.namespaced:
            m.mount("cgroup", here, "cgroup", self.options.mount_flags, data)
        else:
            self._bind(f"{_HOST}/{name}{path}", here)
        for alias in name.split(",") if "," in name else ():
            os.symlink(name, alias, dir_fd=base)

    def _bind(self, source: str, here: str) -> None:
        tree = m.open_tree(m.AT_FDCWD, source, m.OPEN_TREE_CLONE)
        m.mount_setattr(
            tree,
            "",
            m.AT_EMPTY_PATH,
            attr_set=self.options.attr_set,
            propagation=m.MS_PRIVATE,
        )
        target = os.open(here, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        m.attach(tree, target)
        os.close(target)
        os.close(tree)
