"""`fairlead vectors bench-adapter`: the adapter of ann-benchmarks over a file of vectors, without their containers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fairlead_agent.cli.output import json_option, print_json

from ..errors import TieredRetrievalError
from .readers import BadFile, read_queries

if TYPE_CHECKING:
    from ..ann_benchmarks import Fairlead

RECALLS = (0.8, 0.9, 0.95, 0.99)


@click.command("bench-adapter")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--queries", type=click.Path(path_type=Path), help="Default: every hundredth vector of FILE, held out.")
@click.option("--metric", type=click.Choice(["euclidean", "angular"]), default="euclidean", show_default=True)
@click.option("--kind", type=click.Choice(["graph", "lists", "flat"]), default="graph", show_default=True)
@click.option("-k", "count", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--recall", "recalls", type=click.FloatRange(0, 1, min_open=True), multiple=True, help="Repeatable.")
@click.option("--batch", is_flag=True, help="All queries at once, in place of one after the other.")
@json_option
def bench_adapter(
    file: Path,
    queries: Path | None,
    metric: str,
    kind: str,
    count: int,
    recalls: tuple[float, ...],
    batch: bool,
    as_json: bool,
) -> None:
    """Run the adapter of ann-benchmarks over the vectors of FILE as that would; say recall and queries a second."""
    from ..ann_benchmarks import Fairlead

    try:
        rows = read_queries(file)
        asked = rows[::100] if queries is None else read_queries(queries)
        if queries is None:
            rows = np.delete(rows, np.s_[::100], axis=0)
        if len(rows) < count or not len(asked):
            raise TieredRetrievalError(
                f"{file}: {len(rows)} vectors beside {len(asked)} queries; accepted: {count} and 1"
            )
        true = _exact(metric, rows, asked, count)
        index = Fairlead(metric, kind)
        began = time.perf_counter()
        index.fit(rows)
    except (BadFile, TieredRetrievalError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    built = time.perf_counter() - began
    points = [_point(index, recall, asked, true, count, batch) for recall in recalls or RECALLS]
    if as_json:
        print_json(
            {"kind": kind, "metric": metric, "build_s": built, "kib": index.get_memory_usage(), "points": points}
        )
        return
    click.echo(f"built in {built:.1f} s, {index.get_memory_usage() / 1024:.1f} MiB")
    for point in points:
        click.echo(
            f"recall {point['asked']:g} asked, {point['recall']:.4f} reached, {point['per_second']:,.0f} queries/s"
        )


def _exact(metric: str, rows: np.ndarray, queries: np.ndarray, count: int) -> list[np.ndarray]:
    from ..ann_benchmarks import Fairlead

    flat = Fairlead(metric, "flat")
    flat.fit(rows)
    flat.batch_query(queries, count)
    return flat.get_batch_results()


def _point(
    index: Fairlead, recall: float, queries: np.ndarray, true: list[np.ndarray], count: int, batch: bool
) -> dict[str, Any]:
    index.set_query_arguments(recall)
    began = time.perf_counter()
    if batch:
        index.batch_query(queries, count)
    found = index.get_batch_results() if batch else [index.query(query, count) for query in queries]
    seconds = time.perf_counter() - began
    hits = sum(len(np.intersect1d(mine, theirs)) for mine, theirs in zip(found, true, strict=True))
    return {"asked": recall, "recall": hits / (count * len(queries)), "per_second": len(queries) / seconds}
