"""Where the registry of a domain is, and how far it is to be trusted."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from urllib3.util import parse_url

from wherry.model.reference import DEFAULT_DOMAIN
from wherry.registry.api import RegistrySettings

_HUB = "registry-1.docker.io"


def origin(url: str) -> str:
    """Scheme, host and port of a URL (RFC 6454); a scheme's own port is left out."""
    parsed = parse_url(url)
    default = {"https": 443, "http": 80}.get(parsed.scheme or "")
    port = f":{parsed.port}" if parsed.port not in (None, default) else ""
    return f"{parsed.scheme}://{parsed.host}{port}"


@dataclass(frozen=True)
class Endpoint:
    """One way to reach a registry. ``host`` has the port if it is not the scheme's own.

    ``verify`` False: any certificate will do. ``mirror``: has another registry's images, and
    gets none of the credentials that are meant for that one.
    """

    scheme: str
    host: str
    prefix: str = ""
    verify: bool = True
    mirror: bool = False

    @property
    def origin(self) -> str:
        return origin(f"{self.scheme}://{self.host}")

    @property
    def base(self) -> str:
        return f"{self.origin}{self.prefix}/v2/"

    @property
    def secure(self) -> bool:
        return self.scheme == "https" and self.verify


@dataclass(frozen=True)
class Hosts:
    """Endpoints by domain, from the settings alone."""

    settings: RegistrySettings

    def endpoints(self, domain: str, *, mirrors: bool = True) -> tuple[Endpoint, ...]:
        """All ways to try, in order. Mirrors are for pulls only."""
        if domain != DEFAULT_DOMAIN:
            return tuple(self._direct(domain))
        hub = Endpoint("https", _HUB)
        return (*self._mirrors(), hub) if mirrors else (hub,)

    def _mirrors(self) -> Iterator[Endpoint]:
        for url in self.settings.mirrors:
            parsed = parse_url(url)
            if parsed.host and parsed.scheme in ("http", "https"):
                prefix = (parsed.path or "").rstrip("/")
                verify = not self.is_insecure(parsed.netloc or parsed.host)
                host = parsed.netloc or parsed.host
                yield Endpoint(parsed.scheme, host, prefix, verify, mirror=True)

    def _direct(self, domain: str) -> Iterator[Endpoint]:
        if not self.is_insecure(domain):
            yield Endpoint("https", domain)
            return
        yield Endpoint("https", domain, verify=False)
        yield Endpoint("http", domain, verify=False)

    def is_insecure(self, domain: str) -> bool:
        """Whether plain HTTP and unknown certificates are accepted from this host."""
        host = parse_url(f"//{domain}").host or domain
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        if domain in self.settings.insecure or host in self.settings.insecure:
            return True
        return address is not None and any(address in network for network in self._networks)

    @cached_property
    def _networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        texts = (text for text in self.settings.insecure if "/" in text)
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)

    def authorities(self, domain: str) -> tuple[str, ...]:
        """Files of certificate authorities to trust for this host besides the bundle."""
        return tuple(self._certs(domain, ".crt"))

    def client_certificate(self, domain: str) -> tuple[str, str] | None:
        """Files with a certificate and its key that show who the client is."""
        for path in self._certs(domain, ".cert"):
            key = path.removesuffix(".cert") + ".key"
            if os.path.exists(key):
                return path, key
        return None

    def _certs(self, domain: str, suffix: str) -> list[str]:
        directory = os.path.join(self.settings.certs_dir, domain)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return []
        return [os.path.join(directory, name) for name in names if name.endswith(suffix)]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
