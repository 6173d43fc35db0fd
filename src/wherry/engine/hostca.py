"""The host's certificate authorities and proxies inside a container, without a trace.

Behind a proxy with an authority of its own, ``pip install`` in a container fails, because the
image does not know that authority. With ``--host-ca`` the host's bundle is mounted read-only, and
the variables that tools read point at it. Both belong to one start only: neither the image's
configuration, nor its history, nor a layer says anything of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

BUNDLE_IN_CONTAINER = "/run/wherry/host-ca.crt"
VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
)
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)


def find_bundle(environment: Mapping[str, str]) -> str:
    """The host's bundle: what its own tools are told to use, then the usual places; or empty."""
    named = environment.get("SSL_CERT_FILE", "")
    for path in (named, *_BUNDLES):
        if path and os.path.isfile(path):
            return os.path.realpath(path)
    return ""


def proxy_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxy variables that are set, in upper and in lower case."""
    names = (*_PROXY_VARIABLES, *(name.lower() for name in _PROXY_VARIABLES))
    return {name: environment[name] for name in names if environment.get(name)}


def ca_environment(present: Mapping[str, str]) -> dict[str, str]:
    """The variables to add; those that the container sets itself stay as they are."""
    return {name: BUNDLE_IN_CONTAINER for name in VARIABLES if name not in present}
