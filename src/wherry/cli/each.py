"""Do the same to several objects: one that fails does not keep the others from their turn."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.cli.context import Context
from wherry.client.session import quote
from wherry.errors import WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable


def each(
    context: Context,
    names: Iterable[str],
    action: Callable[[str], object],
    *,
    show: bool = True,
) -> int:
    """Call ``action`` with each name and print the name (or what the action returns, if that is
    text). The exit status is 1 if any failed."""
    failed = False
    for name in names:
        try:
            result = action(name)
        except WherryError as error:
            context.complain(f"wherry: {error}")
            failed = True
            continue
        if show:
            context.print(result if isinstance(result, str) else name)
    return int(failed)


def container_path(name: str, rest: str = "") -> str:
    """``/containers/NAME/REST``; slashes of a name are not those of the path."""
    return f"/containers/{quote(name).replace('/', '%2F')}{rest}"


def image_path(name: str, rest: str = "") -> str:
    return f"/images/{quote(name)}{rest}"
