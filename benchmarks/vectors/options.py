"""What the benchmarks of vector search take beside the others' options, and what they make of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.options import Options, line
from benchmarks.results_file import RESULTS, Row
from benchmarks.vectors.data import Part, VectorData, embeddings, fashion_mnist, generated
from benchmarks.vectors.engines import Spec
from fairlead_tiered_retrieval.store.policy import available_kinds

FOLDER = Path(__file__).parents[2] / ".work" / "vectors"


def vector_parser() -> argparse.ArgumentParser:
    """The options, for `benchmarks.options.parse`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for data sets and indexes; kept between runs")
    parser.add_argument("--embeddings", type=Path, help="text embeddings [n, 384] float32, .npy; see vectors_embed")
    parser.add_argument("--peer-python", type=Path, help="of an environment with rabitqlib, faiss-cpu, hnswlib, ...")
    parser.add_argument("--diskann-python", type=Path, help="of an environment with diskannpy")
    parser.add_argument("--only", action="append", metavar="NAME", help="engines to measure; repeatable; default: all")
    parser.add_argument("--data", action="append", metavar="NAME", help="fashion-mnist or text; default: all there are")
    parser.add_argument("--core", type=int, default=None, help="that engines search on; default: the last")
    parser.add_argument(
        "--tune", action="store_true", help="look at the first half of the queries and write nothing (for development)"
    )
    return parser


def data_sets(options: Options) -> list[VectorData]:
    """The data sets that there are: real ones, or a generated one in a quick run and where there are none."""
    more = options.more
    if options.quick:
        return [generated(more.folder)]
    wanted = more.data or ["fashion-mnist", "text"]
    found = []
    if "fashion-mnist" in wanted and (images := fashion_mnist(more.folder)):
        found.append(images)
    if "text" in wanted and more.embeddings:
        found.append(embeddings(more.folder, more.embeddings))
    return found or [generated(more.folder)]


def chosen(options: Options, specs: list[Spec]) -> list[Spec]:
    """Those of the engines that `--only` leaves."""
    only = options.more.only
    return [spec for spec in specs if only is None or any(name in spec.name for name in only)]


def part_of(options: Options) -> Part:
    """Which queries a run looks at: the second half only where it measures for good."""
    return "dev" if options.quick or options.more.tune else "final"


def kinds_of(options: Options) -> list[str]:
    """The approximate kinds of index that are installed and that `--only` leaves."""
    only = options.more.only
    return [kind for kind in available_kinds() if only is None or kind in only]


def written(options: Options, conditions: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Print and write as `Options.finish` does; a run that tunes prints only."""
    if options.more.tune:
        print("\n".join(line(item) for item in rows))
    else:
        options.finish(dict(conditions), list(rows))


def finish(options: Options, conditions: Mapping[str, Any], rows: Sequence[Row], data: Sequence[VectorData]) -> None:
    """Print and write as `Options.finish` does; rows of data sets that this run left out stay in the file.

    Where the file is from another commit, the condition ``kept`` says which.
    """
    kept, known = kept_rows(RESULTS / f"{options.name}.json", [one.name for one in data])
    if options.quick:
        kept, known = [], {}
    options.finish({**known, **conditions}, [*rows, *kept])


def kept_rows(file: Path, measured: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of an earlier run whose case begins with none of the names, and the conditions of those."""
    if not file.exists():
        return [], {}
    content = json.loads(file.read_text())
    names = {item["case"].split(",")[0] for item in content["rows"]} - set(measured)
    rows = [Row(**item) for item in content["rows"] if item["case"].split(",")[0] in names]
    facts = {name: content["conditions"][name] for name in names if name in content["conditions"]}
    return rows, ({**facts, "kept": dict.fromkeys(sorted(names), content["versions"]["commit"])} if names else {})
