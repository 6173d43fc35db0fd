"""The endpoints, one file per group of the API's definition."""

from __future__ import annotations

from wherry.api.context import Route


def all_routes() -> tuple[Route, ...]:
    from wherry.api.routes import (
        absent,
        attach,
        build,
        containers,
        events,
        execs,
        extensions,
        images,
        lifecycle,
        logs,
        networks,
        registries,
        system,
        transfer,
        volumes,
    )

    groups = (
        system,
        containers,
        lifecycle,
        attach,
        logs,
        execs,
        images,
        registries,
        transfer,
        build,
        networks,
        volumes,
        events,
        extensions,
        absent,
    )
    return tuple(route for group in groups for route in group.ROUTES)
