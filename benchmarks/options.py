"""What every benchmark's command line takes, and what it does with its rows."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.results_file import Row, write_results


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured. A quick run shows that a benchmark works; its numbers are printed and not kept."""

    name: str
    repeats: int
    quick: bool
    seed: int
    more: argparse.Namespace = field(default_factory=argparse.Namespace)
    """What the benchmark takes beside these."""
    changed: frozenset[str] = frozenset()
    """Which of these are not as they are by default."""

    @property
    def file(self) -> str:
        """Of the results, without its ending; what was measured on pictures of one's own has a file of its own."""
        return f"{self.name}_given" if getattr(self.more, "pictures", None) else self.name

    @property
    def command(self) -> str:
        """The command that does the same again; paths are this machine's and left to who runs it."""
        given = "".join(_word(name, value, name in self.changed) for name, value in vars(self.more).items())
        return f"python -m benchmarks.{self.name} --repeats {self.repeats} --seed {self.seed}{given}"

    def finish(self, conditions: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Print the rows and, of a full run, write them to the results file."""
        for item in rows:
            print(line(item), flush=True)
        if self.quick:
            print("a quick run: nothing was written")
            return
        known = {"repeats": self.repeats, "seed": self.seed, "load_average_15_min": round(os.getloadavg()[2], 2)}
        print(f"written: {write_results(self.file, self.command, {**known, **conditions}, rows).name}")


def parse(
    name: str,
    description: str | None,
    *,
    repeats: int,
    quick: int,
    arguments: Sequence[str] | None,
    more: argparse.ArgumentParser | None = None,
) -> Options:
    """Read the command line of the benchmark ``name``.

    Args:
        name: of its module and its results file.
        description: for ``--help``.
        repeats: of a full run.
        quick: repeats with ``--quick``.
        arguments: the command line; None: this process's.
        more: options of this benchmark alone (a parser without ``-h``).
    """
    parents = [more] if more else []
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description, parents=parents)
    parser.add_argument("--repeats", type=_positive, default=None, help=f"default: {repeats}, or {quick} with --quick")
    parser.add_argument("--quick", action="store_true", help="a short run that writes no results file")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    chosen = asked.repeats if asked.repeats is not None else (quick if asked.quick else repeats)
    known = vars(asked)
    rest = {key: value for key, value in known.items() if key not in ("repeats", "quick", "seed")}
    changed = frozenset(key for key, value in rest.items() if value != parser.get_default(key))
    return Options(name, chosen, asked.quick, asked.seed, argparse.Namespace(**rest), changed)


def _word(name: str, value: Any, changed: bool) -> str:
    """An option as it is given on a command line; nothing where it is as by default."""
    if isinstance(value, Path) or (isinstance(value, str) and "/" in value):
        return f" --{name.replace('_', '-')} PATH"
    if changed and isinstance(value, str | int | float) and not isinstance(value, bool):
        return f" --{name.replace('_', '-')} {value}"
    return ""


def line(item: Row) -> str:
    """A row in words."""
    peer = "" if item.peer is None else f", peer {item.peer:.4g}, ratio {item.ratio or 0:.3g}"
    promise = (
        "" if item.holds is None else f", {item.limit or item.target}: {'holds' if item.holds else 'DOES NOT HOLD'}"
    )
    ours = f"not measured ({item.note})" if item.ours is None else f"{item.ours:.4g} {item.unit}"
    return f"{item.case}: {item.metric}: {ours}{peer}{promise}"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1 is accepted")
    return value
