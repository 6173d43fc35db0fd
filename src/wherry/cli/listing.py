"""Lists of objects: tables in Docker's columns, ``--format``, ``--quiet``, ``--filter``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wherry.cli.context import Context
from wherry.cli.options import Arguments, Option, UsageError
from wherry.cli.text import table

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable

Row = Mapping[str, str]

FORMAT = Option("--format", "Format output: 'table', 'json', 'table TEMPLATE' or a Go template")
FILTER = Option(
    "-f --filter", "Filter output based on conditions provided", "list", metavar="filter"
)
QUIET = Option("-q --quiet", "Only display IDs", "flag")
NO_TRUNC = Option("--no-trunc", "Don't truncate output", "flag")


def filters(arguments: Arguments) -> dict[str, list[str]] | None:
    """``--filter name=value`` options as the API's map of lists."""
    found: dict[str, list[str]] = {}
    for text in arguments.many("filter"):
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"invalid filter {text!r}: want name=value", 1)
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found or None


class Listing:
    """What can be shown of a kind of object.

    ``columns`` maps a field's name to its column's title, in the order of the default table;
    ``hidden`` has fields that only a template shows. ``quiet`` names the field of ``-q``.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        *,
        quiet: str = "ID",
        hidden: Mapping[str, str] = {},
    ) -> None:
        self._columns = columns
        self._titles = {**columns, **hidden}
        self._quiet = quiet

    def show(
        self,
        context: Context,
        rows: Iterable[Row],
        arguments: Arguments,
        default: str = "",
    ) -> None:
        """Print ``rows`` as the options say. ``default`` is a format from the configuration."""
        if "quiet" in arguments and arguments.flag("quiet") and not arguments.given("format"):
            for row in rows:
                context.print(row[self._quiet])
            return
        for line in self._lines(list(rows), arguments.text("format") or default):
            context.print(line)

    def _lines(self, rows: Sequence[Row], form: str) -> Iterable[str]:
        if form in ("", "table"):
            titles = tuple(self._columns.values())
            cells = [tuple(row[name] for name in self._columns) for row in rows]
            return table([titles, *cells])
        if form == "json":
            form = "{{json .}}"
        render = _renderer(form.removeprefix("table "))
        if not form.startswith("table "):
            return [render(row) for row in rows]
        shown = [render(self._titles), *map(render, rows)]
        return table([line.split("\t") for line in shown])


def _renderer(form: str) -> Callable[[Row], str]:
    from wherry.cli.template import compile_format

    return compile_format(form).render


def labels_text(labels: Mapping[str, str] | None) -> str:
    """``a=1,b=2``."""
    return ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items()))
