"""Terminal output: rich tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def console() -> Console:
    """The console on standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, sort_keys=False, default=str))


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """A table; cells are shown as text, '-' where there is nothing."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(
            *(cell if isinstance(cell, Text) else Text("-" if cell in (None, "") else str(cell)) for cell in row)
        )
    return made


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


def styled(state: str) -> Any:
    """A state in its colour."""
    from rich.text import Text

    return Text(state, style=STATE_STYLES.get(state, ""))


def bytes_text(count: float | None) -> str:
    """Bytes in binary units, as '1.5 GiB'."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
