"""The Docker Engine API over HTTP: routes, wire types, streams. The only place with asyncio."""
