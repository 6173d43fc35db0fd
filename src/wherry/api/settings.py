"""What the API is told by the daemon; it reads no environment."""

from __future__ import annotations

import msgspec


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds."""

    version: str = "0.0.0"
    git_commit: str = ""
    build_time: str = ""
    log_driver: str = ""
    """What the daemon was told for containers that name none; empty: nothing, the engine's own."""
    host_ca: bool = False
    """Show the host's certificate authorities in builds and containers that do not say."""
    proxy_env: dict[str, str] = {}
    """The engine's own proxy variables, passed to builds."""
    json_limit: int = 16 * 1024 * 1024
    quick_threads: int = 16
    """For what takes milliseconds: starting, removing, network and volume changes."""
    slow_threads: int = 256
    """For what may take minutes: stopping, pulling, building."""
