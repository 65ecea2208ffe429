"""Prints the rows of all result files, broken promises first. Run: ``python -m benchmarks.report``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results_file import RESULTS

_ORDER = {False: 0, True: 1, None: 2}
_WORDS = {False: "[red]NO[/red]", True: "[green]yes[/green]", None: "-"}


def read_rows(folder: Path = RESULTS) -> tuple[list[dict[str, Any]], list[str]]:
    """All rows, with ``file`` added, those that do not hold first; and one line for each file that cannot be read."""
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            rows += [{"file": path.stem, **item} for item in json.loads(path.read_text())["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            errors.append(f"{path.name}: no result file ({type(error).__name__}: {error})")
    return sorted(rows, key=lambda item: (_ORDER.get(item.get("holds"), 2), item["file"])), errors


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as a table."""
    shown = Table("holds", "file", "case", "metric", "ours", "peer", "ratio", "range", "limit", "target")
    for item in rows:
        spread = [_number(item.get("ratio_min")), _number(item.get("ratio_max"))]
        shown.add_row(
            _WORDS.get(item.get("holds"), "-"),
            item["file"],
            str(item.get("case", "")),
            str(item.get("metric", "")),
            f"{_number(item.get('ours'))} {item.get('unit', '')}" if item.get("ours") is not None else "not measured",
            _number(item.get("peer")),
            _number(item.get("ratio")),
            " to ".join(spread) if any(spread) else "",
            str(item.get("limit") or ""),
            str(item.get("target") or ""),
        )
    return shown


def main() -> int:
    """Print the report; 1 where a row does not hold or a file cannot be read."""
    rows, errors = read_rows()
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(rows))
    for error in errors:
        console.print(error, style="red", markup=False)
    broken = sum(item.get("holds") is False for item in rows)
    console.print(f"{len(rows)} rows, {broken} do not hold, {len(errors)} files unreadable")
    return 1 if broken or errors else 0


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


if __name__ == "__main__":
    raise SystemExit(main())
