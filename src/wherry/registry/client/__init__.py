"""A client of the OCI Distribution API (distribution-spec 1.1) and of Docker's registries."""

from wherry.registry.client.client import RegistryClient, login_domain
from wherry.registry.client.platforms import host_platform, parse_platform

__all__ = ["RegistryClient", "host_platform", "login_domain", "parse_platform"]
