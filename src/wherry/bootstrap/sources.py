"""Where the host gets a distribution's packages from, and what vouches for them.

sources.list(5): one-line and deb822 entries. The host's own mirror is used for its own
distribution, the distribution's public one for another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from wherry.bootstrap.recipes import Suite
from wherry.errors import NotSupported

_PUBLIC = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}
_PUBLIC_SECURITY = {
    "debian": "http://deb.debian.org/debian-security",
    "ubuntu": "http://security.ubuntu.com/ubuntu",
}
_PORTS = "http://ports.ubuntu.com/ubuntu-ports"  # Ubuntu for all but amd64 and i386
_KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
_KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
_COMPONENTS = {"debian": "main", "ubuntu": "main universe"}


@dataclass(frozen=True)
class Source:
    """One entry of the host's configuration. Absent values are empty."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True)
class Mirror:
    """Where a suite comes from. ``keyring`` is a file on the host."""

    uri: str
    security_uri: str
    keyring: str

    @property
    def public_uri(self) -> str:
        """The URI without user and password."""
        return _without_credentials(self.uri)

    def entries(self, suite: Suite) -> tuple[str, ...]:
        """The lines of ``sources.list`` for a suite, as this host needs them."""
        return tuple(_entries(suite, self.uri, self.security_uri, ""))

    def public_entries(self, suite: Suite) -> tuple[str, ...]:
        """The lines for an image: without credentials, vouched for by its own keys."""
        options = f"[signed-by={_KEYRINGS[suite.distribution]}] "
        security = _without_credentials(self.security_uri)
        return tuple(_entries(suite, self.public_uri, security, options))

    @property
    def local_directories(self) -> tuple[str, ...]:
        """Directories of this host that a ``file:`` mirror lies in."""
        parts = (urlsplit(uri) for uri in (self.uri, self.security_uri))
        return tuple(dict.fromkeys(p.path for p in parts if p.scheme in ("file", "copy")))


def _entries(suite: Suite, uri: str, security: str, options: str) -> Iterator[str]:
    components = _COMPONENTS[suite.distribution]
    yield f"deb {options}{uri} {suite.codename} {components}"
    yield f"deb {options}{uri} {suite.codename}-updates {components}"
    yield f"deb {options}{security} {suite.codename}-security {components}"


def read_sources(apt: Path = Path("/etc/apt")) -> tuple[Source, ...]:
    """All entries for binary packages in the host's configuration, in apt's order."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for path in files:
        if path.suffix == ".list" and path.is_file():
            found += parse_list(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text(errors="replace"))
    return tuple(found)


def parse_list(text: str) -> Iterator[Source]:
    """One-line entries: ``deb [signed-by=KEY arch=...] URI SUITE COMPONENT...``."""
    for line in text.splitlines():
        match = re.match(
            r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)", line
        )
        if match:
            options = dict(o.partition("=")[::2] for o in (match["options"] or "").split())
            yield Source(match["uri"], (match["suite"],), options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """Stanzas with ``Types``, ``URIs``, ``Suites``, ``Signed-By``; a disabled one is left out."""
    uncommented = re.sub(r"(?m)^#.*\n?", "", text)
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = dict(_fields(stanza))
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        signed_by = fields.get("signed-by", "")
        key = signed_by if signed_by.startswith("/") and "\n" not in signed_by else ""
        for uri in fields.get("uris", "").split():
            yield Source(uri, tuple(fields.get("suites", "").split()), key)


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"(?m)^([A-Za-z-]+):((?:.*)(?:\n[ \t].*)*)", stanza):
        yield match[1].lower(), match[2].strip()


def find_mirror(suite: Suite, sources: tuple[Source, ...], architecture: str) -> Mirror:
    """The mirror for a suite; NotSupported if nothing on this host can vouch for it."""
    plain = _best(suite, sources, security=False)
    security = _best(suite, sources, security=True)
    uri = plain.uri if plain else _public(suite.distribution, architecture)
    guess = _PUBLIC_SECURITY[suite.distribution] if plain is None else ""
    security_uri = security.uri if security else guess or _security_beside(uri, suite)
    return Mirror(uri.rstrip("/"), security_uri.rstrip("/"), _keyring(suite, plain))


def _public(distribution: str, architecture: str) -> str:
    if distribution == "ubuntu" and architecture not in ("amd64", "386"):
        return _PORTS
    return _PUBLIC[distribution]


def _security_beside(uri: str, suite: Suite) -> str:
    """Ubuntu's mirrors have security updates in the same place, Debian's beside it."""
    if suite.distribution == "ubuntu":
        return uri
    return re.sub(r"/debian/?$", "/debian-security", uri)


def _best(suite: Suite, sources: tuple[Source, ...], *, security: bool) -> Source | None:
    """The entry for the very suite, else one for another suite of the distribution."""
    fits = [s for s in sources if _serves(s, suite.distribution, security)]
    wanted = f"{suite.codename}-security" if security else suite.codename
    for source in fits:
        if wanted in source.suites:
            return source
    return fits[0] if fits else None


def _serves(source: Source, distribution: str, security: bool) -> bool:
    parts = urlsplit(source.uri)
    if parts.scheme not in ("http", "https", "file", "copy"):
        return False
    last = parts.path.rstrip("/").rpartition("/")[2]
    is_security = any(suite.endswith(("-security", "/updates")) for suite in source.suites)
    names = {distribution, f"{distribution}-ports"} | (
        {f"{distribution}-security"} if security else set()
    )
    plain = any("-" not in suite for suite in source.suites)
    return last in names and (is_security if security else plain)


def _keyring(suite: Suite, source: Source | None) -> str:
    candidates = [source.signed_by] if source and source.signed_by else []
    candidates.append(_KEYRINGS[suite.distribution])
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise NotSupported(
        f"nothing here can vouch for {suite.distribution}'s packages: install its keys with "
        f"apt-get install {_KEYRING_PACKAGES[suite.distribution]}"
    )


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
