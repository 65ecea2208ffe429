"""What every `fairlead sparse` command shares: one-line errors, progress, JSON or a table, plots where possible."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from safetensors import SafetensorError

from ..whole_file import whole_file

P = ParamSpec("P")
R = TypeVar("R")
Advance = Callable[..., None]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
plots_option = click.option(
    "--plots", type=click.Path(path_type=Path), help="Directory for plots (needs matplotlib: the extra `tools`)."
)
format_option = click.option(
    "--plot-format", type=click.Choice(["png", "svg"]), default="png", show_default=True, help="Form of the plots."
)


def clear_errors(run: Callable[P, R]) -> Callable[P, R]:
    """Turn what is wrong with a file or a value into one line and exit status 1."""

    @functools.wraps(run)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(*args, **kwargs)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from error
        except (ValueError, SafetensorError) as error:
            raise click.ClickException(str(error)) from error

    return guarded


class Report:
    """Where a command's words, progress and result go: words to standard error, the result to standard output."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=True, quiet=as_json, highlight=False)

    def say(self, text: str) -> None:
        """Print a line, unless only JSON is wanted."""
        self.console.print(text, markup=False)

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Show a bar; yields a function that moves it on by one, and may rename what is done."""
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(TextColumn("{task.description}"), *columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda now=what: bar.update(task, advance=1, description=now)

    def result(self, content: dict[str, Any], *tables: Table) -> None:
        """Print the result, as JSON or as tables."""
        if self.as_json:
            click.echo(json.dumps(finite(content), ensure_ascii=False))
            return
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        for table in tables:
            console.print(table)

    def plot(self, directory: Path | None, draw: Callable[[Path], Sequence[Path]]) -> list[str]:
        """Draw plots into a directory and return their names; says so where matplotlib is missing."""
        if directory is None:
            return []
        try:
            import matplotlib
        except ModuleNotFoundError:
            self.say("plots are skipped: matplotlib is not installed (pip install 'fairlead-sparse-inference[tools]')")
            return []
        matplotlib.use("Agg")
        directory.mkdir(parents=True, exist_ok=True)
        return [str(path) for path in draw(directory)]


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table; every column but the first is aligned to the right."""
    made = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index == 0 else "right")
    for row in rows:
        made.add_row(*row)
    return made


def share(value: float, digits: int = 1) -> str:
    """Return a share as a percentage, or "-" where there was nothing to measure it on (NaN)."""
    return "-" if math.isnan(value) else f"{value:.{digits}%}"


def rise(moved: float, error: float, digits: int = 3) -> str:
    """Return by how much perplexity rose with its interval, which one window alone does not give (NaN)."""
    return f"{moved:.{digits}%} (one window)" if math.isnan(error) else f"{moved:.{digits}%} ± {error:.{digits}%}"


def finite(content: Any) -> Any:
    """Return JSON content with null for numbers that there was nothing to measure on: JSON knows no NaN."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    return [finite(value) for value in content] if isinstance(content, (list, tuple)) else content


def write_json(path: Path, content: object) -> None:
    """Write JSON whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write_text(json.dumps(finite(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
