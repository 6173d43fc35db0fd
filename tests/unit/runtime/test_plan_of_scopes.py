from __future__ import annotations

import msgspec
import pytest

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import Linux, LinuxNamespace, Mount, Process, Root, Spec, User
from wherry.runtime.ops.cgroups import MountCgroups
from wherry.runtime.ops.kernel import JoinCgroup
from wherry.runtime.plan.planning import CgroupLayout, Filters, Plan, plan_container
from wherry.sys.namespaces import CLONE_NEWCGROUP

SPEC = Spec(
    oci_version="1.2.0",
    root=Root(path="rootfs"),
    process=Process(args=("true",), cwd="/", user=User(uid=0, gid=0)),
    mounts=(Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup"),),
    linux=Linux(
        namespaces=(LinuxNamespace(type="mount"), LinuxNamespace(type="cgroup")),
        cgroups_path="a-b.slice:p:n",
    ),
)


def planned(layout: CgroupLayout) -> Plan:
    return plan_container(SPEC, "box", "/bundle", rootfs=None, layout=layout, filters=Filters())


def test_a_process_is_moved_to_its_scope_and_makes_its_namespace_there() -> None:
    plan = planned(CgroupLayout(unified=True, systemd=True))
    assert (plan.cgroup, plan.scope, plan.moved) == ("/a.slice/a-b.slice/p-n.scope", True, True)
    assert not plan.clone_flags & CLONE_NEWCGROUP
    assert [op for op in plan.ops if isinstance(op, JoinCgroup)] == [JoinCgroup((), True)]
    (mounted,) = (op for op in plan.ops if isinstance(op, MountCgroups))
    assert (mounted.unified, mounted.namespaced) == (True, True)
    assert plan.ops.index(mounted) > plan.ops.index(JoinCgroup((), True))


def test_without_systemd_it_is_born_in_its_group() -> None:
    plan = planned(CgroupLayout(unified=True))
    assert (plan.cgroup, plan.scope, plan.moved) == ("/a-b.slice:p:n", False, False)
    assert plan.clone_flags & CLONE_NEWCGROUP
    assert not any(isinstance(op, JoinCgroup) for op in plan.ops)


def test_a_path_is_no_scope() -> None:
    linux = msgspec.structs.replace(SPEC.linux, cgroups_path="/plain")
    spec = msgspec.structs.replace(SPEC, linux=linux)
    layout = CgroupLayout(unified=True, systemd=True)
    with pytest.raises(InvalidArgument, match="slice:prefix:name"):
        plan_container(spec, "box", "/b", rootfs=None, layout=layout, filters=Filters())
