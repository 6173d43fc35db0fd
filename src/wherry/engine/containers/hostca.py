"""The host's certificate authorities and proxies inside a container, without a trace.

Behind a proxy with an authority of its own, ``pip install`` in a container fails, because the
image does not know that authority. With ``--host-ca`` the host's bundle is mounted read-only, and
the variables that tools read point at it. Both belong to one start only: neither the image's
configuration, nor its history, nor a layer says anything of it.
"""

from __future__ import annotations

BUNDLE_IN_CONTAINER = "/run/wherry/host-ca.crt"
VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
)


def ca_environment() -> dict[str, str]:
    """The variables to add; those that the container sets itself win over them."""
    return dict.fromkeys(VARIABLES, BUNDLE_IN_CONTAINER)
