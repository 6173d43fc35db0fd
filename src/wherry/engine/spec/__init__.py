"""From what a user asked for, over what the image says, to the OCI configuration."""

from wherry.engine.spec.build import build_spec
from wherry.engine.spec.capabilities import bounding_set, process_capabilities
from wherry.engine.spec.devices import ResolvedDevices, resolve_devices
from wherry.engine.spec.facts import HostFacts, host_facts
from wherry.engine.spec.inputs import Joined, NameFiles, SpecInputs
from wherry.engine.spec.merge import merge_config
from wherry.engine.spec.process import environment, spec_user
from wherry.engine.spec.resources import limits_of
from wherry.engine.spec.security import parse_options, seccomp_filter
from wherry.engine.spec.supported import check_supported
from wherry.engine.spec.users import ResolvedUser, resolve_user
from wherry.model.runtime_spec import INIT_ANNOTATION

__all__ = [
    "INIT_ANNOTATION",
    "HostFacts",
    "Joined",
    "NameFiles",
    "ResolvedDevices",
    "ResolvedUser",
    "SpecInputs",
    "bounding_set",
    "build_spec",
    "check_supported",
    "environment",
    "host_facts",
    "limits_of",
    "merge_config",
    "parse_options",
    "process_capabilities",
    "resolve_devices",
    "resolve_user",
    "seccomp_filter",
    "spec_user",
]
