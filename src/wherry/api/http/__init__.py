"""HTTP/1.1 on asyncio: as much of RFC 9112 as an engine's API needs, and connection take-over."""
