"""Fetch a URL for ADD or as a context: http and https, with a limit and a checksum."""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from urllib.parse import unquote, urlsplit

import msgspec
import urllib3

from wherry.build.api import CopyFailed
from wherry.build.trees import Check
from wherry.errors import InvalidArgument, NotSupported, Unavailable

_CHUNK = 1 << 20
_TIMEOUT = urllib3.Timeout(connect=30, read=120)
SIZE_LIMIT = 8 << 30
"""Bytes; what is larger is refused."""


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """An unnamed temporary file, mode 0600. The caller closes ``fd``."""

    fd: int
    name: str  # the last component of the URL's path; may be empty
    sha256: str  # hex
    size: int


def fetch(
    url: str, directory: str, proxies: dict[str, str], check: Check, limit: int = SIZE_LIMIT
) -> Download:
    """Download into a file without a name in ``directory``.

    ``proxies`` has variables like ``https_proxy`` and ``no_proxy``. Unavailable if the server does
    not answer, CopyFailed if it answers anything but success or too much, NotSupported for other
    schemes.
    """
    require_http(url)
    pool = _pool(url, proxies)
    try:
        response = pool.request(
            "GET", url, preload_content=False, timeout=_TIMEOUT, headers={"User-Agent": "wherry"}
        )
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"cannot fetch {url}: {error}") from None
    try:
        if response.status != 200:
            raise CopyFailed(f"cannot fetch {url}: the server answers {response.status}")
        return _saved(response, url, directory, check, limit)
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"cannot fetch {url}: {error}") from None
    finally:
        response.release_conn()
        pool.clear()


def require_http(url: str) -> None:
    """NotSupported names git, InvalidArgument what is no URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.path.endswith(".git"):
        raise NotSupported(f"{url} cannot be used: git repositories are not supported")
    if not parts.hostname:
        raise InvalidArgument(f"{url} is no URL: it names no host")


def _saved(
    response: urllib3.BaseHTTPResponse, url: str, directory: str, check: Check, limit: int
) -> Download:
    digest = hashlib.sha256()
    size = 0
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for chunk in response.stream(_CHUNK, decode_content=False):
            check()
            size += len(chunk)
            if size > limit:
                raise CopyFailed(f"cannot fetch {url}: it is larger than {limit} bytes")
            digest.update(chunk)
            file.write(chunk)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        name = posixpath.basename(unquote(urlsplit(url).path))
        return Download(fd=os.dup(file.fileno()), name=name, sha256=digest.hexdigest(), size=size)


def _pool(url: str, proxies: dict[str, str]) -> urllib3.PoolManager:
    parts = urlsplit(url)
    known = {name.lower().removesuffix("_proxy"): value for name, value in proxies.items()}
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or _bypassed(parts.hostname or "", known.get("no", "")):
        return urllib3.PoolManager(retries=urllib3.Retry(2, redirect=5))
    return urllib3.ProxyManager(proxy, retries=urllib3.Retry(2, redirect=5))


def _bypassed(host: str, names: str) -> bool:
    """``no_proxy``: names and their subdomains, separated by commas; ``*`` is all."""
    for name in names.split(","):
        bare = name.strip().lstrip(".").lower()
        if bare and (bare == "*" or host.lower() == bare or host.lower().endswith(f".{bare}")):
            return True
    return False
