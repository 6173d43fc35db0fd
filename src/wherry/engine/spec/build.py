"""From what was asked for to the OCI configuration that the runtime takes."""

from __future__ import annotations

from wherry.engine.spec.capabilities import bounding_set
from wherry.engine.spec.inputs import SpecInputs
from wherry.engine.spec.mounts import container_mounts, root_propagation
from wherry.engine.spec.namespaces import namespaces
from wherry.engine.spec.process import container_process
from wherry.engine.spec.remap import mappings
from wherry.engine.spec.resources import container_resources
from wherry.engine.spec.security import (
    SecurityOptions,
    masked_paths,
    parse_options,
    readonly_paths,
    seccomp_filter,
)
from wherry.engine.spec.sysctls import container_sysctls
from wherry.model.runtime_spec import INIT_ANNOTATION, OCI_VERSION, Linux, Mount, Root, Spec


def build_spec(inputs: SpecInputs) -> Spec:
    """The configuration of a container. Pure: the same inputs give the same value.

    InvalidArgument and NotSupported as :func:`check_supported` gives them, which is meant to have
    been asked when the container was made.
    """
    options = parse_options(inputs.host.security_opt or ())
    bounding = bounding_set(inputs.host, inputs.facts)
    mounts = container_mounts(inputs)
    own_uts = inputs.host.uts_mode != "host"
    return Spec(
        oci_version=OCI_VERSION,
        root=Root(path=inputs.root_path, readonly=inputs.host.readonly_rootfs),
        process=container_process(inputs, options, bounding),
        hostname=inputs.hostname if own_uts else "",
        domainname=inputs.config.domainname if own_uts else "",
        mounts=mounts,
        annotations=_annotations(inputs),
        linux=_linux(inputs, options, bounding, mounts),
    )


def _annotations(inputs: SpecInputs) -> dict[str, str]:
    asked = dict(inputs.host.annotations or {})
    if inputs.use_init:
        asked[INIT_ANNOTATION] = "true"
    return asked


def _linux(
    inputs: SpecInputs,
    options: SecurityOptions,
    bounding: tuple[str, ...],
    mounts: tuple[Mount, ...],
) -> Linux:
    host, facts = inputs.host, inputs.facts
    return Linux(
        namespaces=namespaces(inputs),
        devices=inputs.devices.nodes,
        cgroups_path=inputs.cgroup_path,
        resources=container_resources(host, facts, inputs.devices),
        rootfs_propagation=root_propagation(mounts),
        uid_mappings=mappings(inputs.users.uids) if inputs.users else (),
        gid_mappings=mappings(inputs.users.gids) if inputs.users else (),
        mount_label=inputs.labels.mount,
        seccomp=seccomp_filter(options, host, bounding, facts),
        sysctl=container_sysctls(host, inputs.users),
        masked_paths=masked_paths(options, host),
        readonly_paths=readonly_paths(options, host),
    )
