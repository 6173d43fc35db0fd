"""What the daemon takes from its environment and its host, read once."""

from __future__ import annotations

import os.path
from collections.abc import Mapping

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def proxy_environment(environ: Mapping[str, str], proxies: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables in both spellings; ``proxies`` is the key of the configuration file
    (``http-proxy``, ``https-proxy``, ``no-proxy``) and wins."""
    found: dict[str, str] = {}
    for name in _PROXIES:
        value = proxies.get(name.replace("_", "-")) or environ.get(name)
        value = value or environ.get(name.upper())
        if value:
            found[name] = found[name.upper()] = value
    return found


def ca_bundle(environ: Mapping[str, str]) -> str:
    """The file of the host's certificate authorities; empty if there is none."""
    candidates = (environ.get("SSL_CERT_FILE", ""), *_BUNDLES)
    return next((path for path in candidates if path and os.path.isfile(path)), "")
