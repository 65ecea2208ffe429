"""Terminal output: rich tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

#: What goes into a pipe is not wrapped: it is searched with grep and cut.
PIPE_COLUMNS = 1000
#: A wrapped column is not made narrower than this as long as another can be left out.
WRAP_COLUMNS = 30


def console(*, stderr: bool = False) -> Console:
    """The console on standard output, or for progress on standard error."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, stderr=stderr, width=PIPE_COLUMNS if wide else None)


def progress(what: str) -> Any:
    """A spinner on standard error while something takes longer; nothing where that is no terminal."""
    return console(stderr=True).status(what)


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, sort_keys=False, default=str))


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Of those with a ``rank``, the highest is left out first where the terminal is too narrow for all."""

    name: str
    rank: int = 0
    wraps: bool = False


def table(
    title: str, columns: Iterable[str | Column], rows: Iterable[Iterable[Any]], width: int | None = None
) -> Table:
    """A table that fits the terminal; cells are shown as text, '-' where there is nothing.

    Args:
        title: above it; may be empty.
        columns: by name, or with what may be left out and what wraps.
        rows: cells, rich texts or anything with a ``str``.
        width: columns of the terminal; default: the console's.
    """
    from rich import box
    from rich.table import Table

    wanted = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    shown = fitting(wanted, cells, width or console().width)
    left_out = [column.name for index, column in enumerate(wanted) if index not in shown]
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        caption=f"not shown here: {', '.join(left_out)}" if left_out else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    for index in shown:
        made.add_column(wanted[index].name, overflow="fold", no_wrap=not wanted[index].wraps)
    for row in cells:
        made.add_row(*(row[index] for index in shown))
    return made


def fitting(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The indexes of the columns that fit into ``width`` characters."""
    shown = list(range(len(columns)))
    while sum(_width(columns[index], [row[index].cell_len for row in cells]) + 2 for index in shown) - 2 > width:
        worst = max(shown, key=lambda index: columns[index].rank)
        if columns[worst].rank == 0:
            break
        shown.remove(worst)
    return shown


def _width(column: Column, lengths: Sequence[int]) -> int:
    natural = max([len(column.name), *lengths])
    return min(natural, WRAP_COLUMNS) if column.wraps else natural


def _cell(value: Any) -> Text:
    from rich.text import Text

    return value if isinstance(value, Text) else Text("-" if value in (None, "") else str(value))


STATE_STYLES = {
    "placed": "green",
    "ready": "green",
    "won": "green",
    "online": "green",
    "ok": "green",
    "pending": "yellow",
    "negotiating": "yellow",
    "awarded": "yellow",
    "preparing": "yellow",
    "standby": "yellow",
    "draining": "yellow",
    "warning": "yellow",
    "unplaceable": "red",
    "failed": "red",
    "quarantined": "red",
    "lost": "red",
    "offline": "red",
    "problem": "red",
}


def styled(state: str, style: str | None = None) -> Any:
    """A state in its colour."""
    from rich.text import Text

    return Text(state, style=STATE_STYLES.get(state, "") if style is None else style)


def bytes_text(count: float | None) -> str:
    """Bytes in binary units, as '1.5 GiB'."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
