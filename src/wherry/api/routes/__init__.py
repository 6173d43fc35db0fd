"""The endpoints, one file per group of the API's definition."""

from __future__ import annotations

from wherry.api.context import Route


def all_routes() -> tuple[Route, ...]:
    from wherry.api.routes import (
        absent,
        archive,
        attach,
        build,
        commit,
        containers,
        description,
        events,
        execs,
        extensions,
        images,
        lifecycle,
        logs,
        metrics,
        networks,
        registries,
        stats,
        system,
        transfer,
        volume_backups,
        volumes,
    )

    groups = (
        system,
        containers,
        lifecycle,
        archive,
        attach,
        logs,
        metrics,
        stats,
        execs,
        images,
        registries,
        transfer,
        build,
        commit,
        networks,
        volumes,
        volume_backups,
        events,
        extensions,
        description,
        absent,
    )
    return tuple(route for group in groups for route in group.ROUTES)
