"""How cost grows with size: ``python -m benchmarks.vectors_million --embeddings FILE``.

100,000, 300,000 and 1,000,000 vectors of 384 dimensions: build, search in main memory and from a file past the page
cache, updates, bytes; and from what is read for each query a projection to a billion on paper. Where the file has fewer
vectors than a size asks for, the rest is made from them (`benchmarks.vectors.data.extended`), which the case says.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from benchmarks.decoding_process import EngineEnded
from benchmarks.options import Options, line, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.vectors.data import Part, VectorData, embeddings, generated
from benchmarks.vectors.engines import Curves, K, Searched, Spec, VectorEngine, measured
from benchmarks.vectors.options import vector_parser

SIZES = (100_000, 300_000, 1_000_000)
BILLION = 1_000_000_000
QUERIES, UPDATES = 4_000, 5_000
RECALLS = (0.95, 0.99)
PROMISE = "1 M x 384 on this machine: build, search, update rates, curves of cost against size (100k, 300k, 1M)"
PAPER = "a projection to a billion on paper from measured per-query reads"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    more = argparse.ArgumentParser(add_help=False, parents=[vector_parser()])
    more.add_argument("--size", action="append", type=int, help=f"repeatable; default: {', '.join(map(str, SIZES))}")
    options = parse("vectors_million", __doc__, repeats=3, quick=1, arguments=arguments, more=more)
    rows: list[Row] = []
    conditions: dict[str, Any] = {"threads": 1, "build_threads": 2, "k": K}
    conditions["calibrated"] = "by 1,000 queries that are looked at for settings alone"
    measured_sizes: dict[str, dict[int, Mapping[str, float]]] = {}
    for data in _data(options):
        for kind in ("lists", "graph"):
            found, facts, costs = of_kind(options, data, kind)
            rows += found
            conditions[f"{data.name}, {kind}"] = facts
            if costs:
                measured_sizes.setdefault(kind, {})[len(data.base)] = costs
    rows += [item for kind, costs in measured_sizes.items() for item in projected(kind, costs)]
    if options.more.tune:
        for item in rows:
            print(line(item))
        return 0
    options.finish(conditions, rows)
    return 0


def _data(options: Options) -> list[VectorData]:
    more = options.more
    if options.quick or not more.embeddings:
        return [generated(more.folder, count) for count in (5_000, 20_000)]
    sizes = more.size or SIZES
    return [embeddings(more.folder, more.embeddings, count=size, queries=QUERIES) for size in sizes]


def of_kind(
    options: Options, data: VectorData, kind: str
) -> tuple[list[Row], dict[str, Any], Mapping[str, float] | None]:
    """Rows of one index, its curve, and what it costs at recall 0.95."""
    core = max(os.sched_getaffinity(0)) if options.more.core is None else options.more.core
    part: Part = "dev" if options.more.tune or options.quick else "final"
    case = f"{data.name}, {kind}"
    try:
        engine = VectorEngine(Spec.ours(f"fairlead {kind}", kind), data, core=core)
    except EngineEnded as error:
        why = str(error).splitlines()[-1][-200:]
        return [not_measured(case, "queries per second at recall@10 0.95", "1/s", PROMISE, why)], {}, None
    with closing(engine):
        _calibrate(engine)
        curves = measured([engine], part, options.repeats, limit=500 if options.quick else None)
        rows = [_built(case, engine), *(_speed(case, engine, curves, recall) for recall in RECALLS)]
        at = _at(curves.points[engine.name][-1], 0.95)
        told = engine.opened
        bytes_each = (told["dram_bytes"] + told["tier_bytes"]) / len(data.base)
        rows.append(row(case, "index bytes of a vector", "B", [bytes_each], note="vectors included"))
        rows += _updates(case, engine, options)
        points = [[round(one.recall, 4), round(one.qps)] for one in curves.middle(engine.name)]
    costs = None if at is None else {"qps": at.point.qps, "bytes": bytes_each, **_file(options, data, kind, core, part)}
    if costs and "reads" in costs:
        rows.append(row(f"{case}, file", "reads per query at recall 0.95", "reads", [costs["reads"]]))
        rows.append(row(f"{case}, file", "queries per second at recall@10 0.95", "1/s", [costs["file_qps"]]))
    return rows, {"about": data.about, "points": points}, costs


def _calibrate(engine: VectorEngine) -> None:
    """By queries that are looked at for settings: those made of others lie near them, and are found too easily."""
    data = engine.data
    paths = {"queries": str(data.queries_path("dev")), "truth": str(data.truth_path("dev"))}
    engine.process.ask({"call": "calibrate", "with": paths}, 3600.0)


def _built(case: str, engine: VectorEngine) -> Row:
    note = f"{engine.built['processor_s']:.1f} s of processor time on 2 threads"
    return row(case, "build", "s", [engine.built["seconds"]], promise=PROMISE, note=note)


def _speed(case: str, engine: VectorEngine, curves: Curves, recall: float) -> Row:
    metric, qps = f"queries per second at recall@10 {recall}", curves.at(engine.name, recall)
    if qps is None:
        return not_measured(case, metric, "1/s", PROMISE, "no setting reaches it")
    return row(case, metric, "1/s", qps, better="more")


def _updates(case: str, engine: VectorEngine, options: Options) -> list[Row]:
    """Vectors of the data set, added once more and removed."""
    count = 500 if options.quick else UPDATES
    told = engine.process.ask(
        {"call": "updates", "with": {"vectors": str(engine.data.base_path), "count": count}}, 900.0
    )
    note = f"in batches of 100; what they left was put right in {told['maintain_s']:.1f} s"
    return [
        row(case, "vectors added a second", "1/s", [told["adds_per_s"]], better="more", note=note),
        row(case, "vectors removed a second", "1/s", [told["removes_per_s"]], better="more"),
    ]


def _file(options: Options, data: VectorData, kind: str, core: int, part: Part) -> Mapping[str, float]:
    """Reads, bytes and speed with vectors in a file past the page cache, where the index has a tier."""
    if kind != "lists":
        return {}
    file = options.more.folder / "million.bytes"
    file.unlink(missing_ok=True)
    spec = Spec.ours(f"fairlead {kind}", kind, region=f"file:{file}?direct=1")
    try:
        with closing(VectorEngine(spec, data, core=core, name=f"{kind} in a file")) as engine:
            _calibrate(engine)
            curves = measured([engine], part, 1, limit=500)
            at = _at(curves.points[engine.name][-1], 0.95)
            if at is None:
                return {}
            told = engine.opened
            return {
                "reads": at.told["reads"],
                "tier_read_bytes": at.told["tier_read_bytes"],
                "file_qps": at.point.qps,
                "dram": told["dram_bytes"] / len(data.base),
            }
    except EngineEnded as error:
        print(f"left out: {kind} in a file: {error}", flush=True)
        return {}
    finally:
        file.unlink(missing_ok=True)


def _at(found: Sequence[Searched], recall: float) -> Searched | None:
    reached = [one for one in found if one.point.recall >= recall]
    return max(reached, key=lambda one: one.point.qps, default=None)


def projected(kind: str, costs: Mapping[int, Mapping[str, float]]) -> list[Row]:
    """What follows for a billion from how each cost grew: a power of the count, by least squares on logarithms."""
    rows = []
    units = {"qps": "1/s", "reads": "reads", "tier_read_bytes": "B", "dram": "B"}
    names = {
        "qps": "queries per second on one core",
        "reads": "reads per query",
        "tier_read_bytes": "tier bytes per query",
        "dram": "bytes of main memory for a vector",
    }
    for key, name in names.items():
        points = [(count, one[key]) for count, one in sorted(costs.items()) if one.get(key, 0) > 0]
        if len(points) >= 2:
            value, power = power_law(points, BILLION)
            note = f"on paper: grows as n^{power:.2f} from {points[0][0]:,} to {points[-1][0]:,}; not measured"
            rows.append(row(f"a billion x 384, {kind}, recall 0.95", name, units[key], [value], note=note))
    return rows


def power_law(points: Sequence[tuple[float, float]], at: float) -> tuple[float, float]:
    """Return the value at a count and the power by which it grows, of a line through logarithms (least squares)."""
    logs = [(math.log(count), math.log(value)) for count, value in points]
    middle_x, middle_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in logs)
    power = sum((x - middle_x) * (y - middle_y) for x, y in logs) / spread if spread else 0.0
    return math.exp(middle_y + power * (math.log(at) - middle_x)), power


if __name__ == "__main__":
    raise SystemExit(main())
