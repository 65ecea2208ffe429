"""Codes in main memory, vectors in a lower tier, one thread: ``python -m benchmarks.vectors_tiers``.

The cluster index with its vectors in main memory, in shared memory whose server answers after 2 us, in another process
by one-sided reads, on a memory node over TCP and over UCX, and in a file read past the page cache (O_DIRECT); and the
graph with its edges and vectors in each of these, beside the clusters there (``--without-graph`` leaves it out). Beside
queries per second: reads, dependent round trips and bytes of the tier for each query, the whole size, what the tier
allows at those reads, and the wait of queries that come at random times at 70 % of what the stream can do. The file
tier is measured beside DiskANN's SSD index on that disk where ``--diskann-python`` names an interpreter that has it.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.decoding_process import EngineEnded
from benchmarks.options import Options, line, parse
from benchmarks.results_file import Row, not_measured, row
from benchmarks.vectors.curve import qps_at
from benchmarks.vectors.data import Part, VectorData
from benchmarks.vectors.engines import Curves, K, Searched, Spec, VectorEngine, measured, opened
from benchmarks.vectors.options import data_sets, finish, vector_parser
from fairlead_tiered_retrieval.advisor.local_tiers import local_tiers

DRAM, SHM, FILE, DISKANN = "main memory", "shared memory, 2 us injected", "file, O_DIRECT", "DiskANN SSD"
CODES, TOTAL, READS = 0.08, 1.06, 15.0
RECALLS, BLOCK, LOAD, LOAD_S = (0.95, 0.99), 4096, 0.7, 4.0
#: How names of the graph's rows begin, what is told of its searches, and what edges of a vector take at most.
GRAPH, EDGE_BYTES = "graph in ", 128
GRAPH_COUNTS = (
    ("reads", "reads per query", "reads"),
    ("round_trips", "dependent round trips per query", "trips"),
    ("tier_read_bytes", "tier bytes per query", "B"),
)
#: The promises in their own words.
ONE_TRIP = "one dependent round trip per query in the common case"
DISK = "file tier at recall 0.99 >= 4x DiskANN's SSD index on the same disk"
DEVICE = ">= 80 % of the limit that the device's IOPS allow at our reads per query (<= 15)"
SHARED = "latency-injected shared memory >= 0.8x of the all-DRAM speed"
OTHERS = ">= 0.8x of 1 / (scan time + reads x CPU per read)"
WAIT = "p99 <= 3x p50 at 70 % load"
OPEN_LOOP = (
    "queries come one by one at random times (Poisson) at 70 % of the rate at which the same stream of one thread "
    "answers single queries where some always wait, and join those under way; that rate is measured just before and "
    "after each trial, and the trial is made anew, three times at most, where the two differ by more than a tenth; the "
    "load that came of it is in the note; the first tenth of the queries is not counted. One server that takes equal "
    "times has p99 / p50 of 4.2 then (M/D/1), and less where the tier's part of each wait is long: 3.0 from 1.1 times "
    "of service on. Queries that begin together cost less than one by one: 70 % of the most that a stream does "
    "keeps it busy for more than 70 % of the time"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    more = vector_parser()
    more.add_argument("--without-graph", action="store_true", help="measure clusters alone")
    options = parse("vectors_tiers", __doc__, repeats=3, quick=1, arguments=arguments, more=more)
    rows: list[Row] = []
    conditions: dict[str, Any] = {"threads": 1, "k": K, "open_loop": OPEN_LOOP}
    sets = data_sets(options)
    for data in sets:
        with ExitStack() as stack:
            bench = TierBench(options, data, stack)
            rows += bench.rows()
            conditions[data.name] = bench.facts()
    if options.more.tune:
        for item in rows:
            print(line(item))
        return 0
    finish(options, conditions, rows, sets)
    return 0


class TierBench:
    """One data set: the same index with its vectors in each tier, and DiskANN."""

    def __init__(self, options: Options, data: VectorData, stack: ExitStack) -> None:
        self.options, self.data = options, data
        self.part: Part = "dev" if options.more.tune or options.quick else "final"
        cores = sorted(os.sched_getaffinity(0))
        self.core = cores[-1] if options.more.core is None else options.more.core
        server = cores[0] if len(cores) > 1 else None
        self.missing: dict[str, str] = {}
        self.engines: dict[str, VectorEngine] = {}
        kinds = {"": "lists"} if options.more.without_graph else {"": "lists", GRAPH: "tier-graph"}
        for beginning, kind in kinds.items():
            # Of a graph the edges come to the vectors.
            size = int(1.1 * (data.base.nbytes + len(data.base) * EDGE_BYTES * (kind != "lists"))) + (2 << 20)
            urls = stack.enter_context(
                local_tiers(-(-size // 4096) * 4096, folder=options.more.folder, core=server, name=f"bench-{kind}-")
            )
            for name, url in {DRAM: "", **urls}.items():
                self._open(beginning + name, kind, url, stack)
        if python := options.more.diskann_python:
            found, missing = opened([Spec.peer(DISKANN, python)], data, core=self.core)
            self.missing |= missing
            self.engines |= {DISKANN: found[0]} if found else {}
            for engine in found:
                stack.callback(engine.close)
        self.curves: Curves = measured(
            list(self.engines.values()), self.part, options.repeats, limit=500 if options.quick else None
        )

    def _open(self, name: str, kind: str, url: str, stack: ExitStack) -> None:
        only = self.options.more.only
        if only is not None and name != DRAM and not any(one in name for one in only):
            return
        try:
            spec = Spec.ours(f"fairlead {kind}", kind, **({"region": url} if url else {}))
            engine = VectorEngine(spec, self.data, core=self.core, name=name)
        except EngineEnded as error:
            self.missing[name] = str(error).splitlines()[-1][-200:]
            print(f"left out: {name}: {error}", flush=True)
            return
        stack.callback(engine.close)
        self.engines[name] = engine

    def rows(self) -> list[Row]:
        """All of this data set."""
        found: list[Row] = []
        for name, engine in self.engines.items():
            if name.startswith(GRAPH):
                found += self._graph(name, engine)
            elif name != DISKANN:
                found += self._sizes(name, engine) + [self._speed(name, recall) for recall in RECALLS]
                found += self._tier(name, engine)
        found += [self._disk(), *(self._absent(name, why) for name, why in self.missing.items())]
        return found

    def facts(self) -> dict[str, Any]:
        """For the results file."""
        points = {
            name: [[round(one.recall, 4), round(one.qps)] for one in self.curves.middle(name)] for name in self.engines
        }
        return {"about": self.data.about, "queries": self.part, "missing": self.missing, "curves": points}

    def _graph(self, name: str, engine: VectorEngine) -> list[Row]:
        """A graph in a tier beside the clusters there."""
        case, raw, told = f"{self.data.name}, {name}", self.data.raw_bytes, engine.opened
        found = [
            row(case, "index bytes / raw, in all", "x", [(told["dram_bytes"] + told["tier_bytes"]) / raw]),
            row(case, "codes in DRAM / raw", "x", [told["dram_bytes"] / raw], limit=CODES),
        ]
        for recall in RECALLS:
            metric, at = f"queries per second at recall@10 {recall}", self._at(name, recall)
            mine, clusters = self.curves.at(name, recall), self.curves.at(name.removeprefix(GRAPH), recall)
            if mine is None or at is None:
                found.append(not_measured(case, metric, "1/s", f"recall {recall}", "no setting reaches it"))
                continue
            found.append(row(case, metric, "1/s", mine, clusters, better="more", note="peer: clusters there"))
            reached = f"{case}, recall {at.point.recall:.3f}"
            for key, words, unit in GRAPH_COUNTS:
                found.append(row(reached, words, unit, [at.told[key]]))
        return found

    def _sizes(self, name: str, engine: VectorEngine) -> list[Row]:
        told, raw = engine.opened, self.data.raw_bytes
        case = f"{self.data.name}, {name}"
        # Vectors of uint8 are kept as they are: less than the raw vectors' float32.
        total = (told["dram_bytes"] + told["tier_bytes"]) / raw
        if name == DRAM:
            return [row(case, "index bytes / raw, in all", "x", [total])]
        return [
            row(case, "index bytes / raw, in all", "x", [total], limit=TOTAL),
            row(case, "codes in DRAM / raw", "x", [told["dram_bytes"] / raw], limit=CODES),
        ]

    def _speed(self, name: str, recall: float) -> Row:
        case, metric = f"{self.data.name}, {name}", f"queries per second at recall@10 {recall}"
        mine, memory = self.curves.at(name, recall), self.curves.at(DRAM, recall)
        if mine is None:
            return not_measured(case, metric, "1/s", f"recall {recall}", "no setting reaches it")
        if name == DRAM:
            return row(case, metric, "1/s", mine, better="more")
        promised = {"target": 0.8, "promise": SHARED} if name == SHM else {}
        return row(case, metric, "1/s", mine, memory, better="more", note="peer: the same in main memory", **promised)

    def _tier(self, name: str, engine: VectorEngine) -> list[Row]:
        at = self._at(name, 0.99)
        if at is None or name == DRAM:
            return []
        case, told = f"{self.data.name}, {name}, recall {at.point.recall:.3f}", at.told
        made = [
            row(case, "reads per query", "reads", [told["reads"]], limit=READS if name == FILE else None),
            row(case, "tier bytes per query", "B", [told["tier_read_bytes"]]),
            _promised(case, "queries of one dependent round trip", told["one_round_trip"], 0.5, ONE_TRIP),
        ]
        return [*made, self._limit(name, engine, at), self._wait(name, engine, at)]

    def _limit(self, name: str, engine: VectorEngine, at: Searched) -> Row:
        """Speed against what the device or the processor allows at so many reads."""
        case = f"{self.data.name}, {name}, recall {at.point.recall:.3f}"
        reads = max(1.0, at.told["reads"])
        # More reads at once than the queue is deep, so that it never runs empty.
        asked = {"length": BLOCK, "depth": 512} if name == FILE else {"length": self._vector_bytes(), "depth": 64}
        device = engine.process.ask({"call": "reads", "with": asked})
        if name == FILE:
            # Of vectors that lie side by side one read comes.
            asked_for = max(1.0, at.told["tier_requests"])
            limit = device["reads_per_s"] / asked_for
            note = f"{device['reads_per_s']:,.0f} reads of 4 KiB a second, {asked_for:.1f} for a query"
            promise = DEVICE
        else:
            memory = self._qps(DRAM, at)
            limit = 1 / (1 / memory + reads * device["processor_s"]) if memory else 0.0
            note = f"{1e9 * device['processor_s']:,.0f} ns of processor time a read"
            promise = OTHERS
        if not limit:
            return not_measured(case, "queries per second / limit", "x", promise, "no speed in main memory")
        return _promised(case, "queries per second / limit", at.point.qps / limit, 0.8, promise, note)

    def _wait(self, name: str, engine: VectorEngine, at: Searched) -> Row:
        """Waits at 70 % of what the stream can do."""
        case = f"{self.data.name}, {name}, recall {at.point.recall:.3f}"
        path = str(self.data.queries_path(self.part))
        told = [
            engine.process.ask(
                {
                    "call": "load",
                    "with": {
                        "queries": path,
                        "k": K,
                        "effort": at.effort,
                        "share": LOAD,
                        "seconds": 1.0 if self.options.quick else LOAD_S,
                        "seed": self.options.seed + repeat,
                    },
                }
            )
            for repeat in range(self.options.repeats)
        ]
        ratio = statistics.median(one["p99_ms"] / one["p50_ms"] for one in told)
        ideal, paused = (
            statistics.median(one[f"{kind}_p99_ms"] / one[f"{kind}_p50_ms"] for one in told)
            for kind in ("constant", "paused")
        )
        middle = {key: statistics.median(one[key] for one in told) for key in told[0]}
        note = (
            f"p50 {middle['p50_ms']:.2f} ms, p99 {middle['p99_ms']:.2f} ms, alone {middle['alone_ms']:.2f} ms; "
            f"{middle['rate']:,.0f} queries/s, a load of {middle['share']:.2f}; equal times of service and then what "
            f"else a query alone takes have {ideal:.1f}x "
            f"({middle['constant_p50_ms']:.2f} ms, {middle['constant_p99_ms']:.2f} ms), with the pauses of a "
            f"thread that only looked at the clock, right after, {paused:.1f}x"
        )
        return row(case, "p99 / p50 at 70 % load", "x", [ratio], limit=3.0, promise=WAIT, note=note)

    def _missing(self, ours: bool) -> str:
        if ours:
            return "the file tier does not reach it"
        measured = DISKANN in self.engines
        return "no setting of DiskANN reaches it" if measured else "DiskANN was not measured (--diskann-python)"

    def _disk(self) -> Row:
        case, metric = f"{self.data.name}, {FILE}, beside {DISKANN}", "queries per second at recall@10 0.99"
        mine, theirs = self.curves.at(FILE, 0.99), self.curves.at(DISKANN, 0.99)
        if mine is None or theirs is None:
            return not_measured(case, metric, "1/s", DISK, self._missing(mine is None))
        engine = self.engines[DISKANN]
        note = f"DiskANN: {engine.saved_share:.2f}x raw on disk and in memory, built in {engine.built['seconds']:.0f} s"
        return row(case, metric, "1/s", mine, theirs, better="more", target=4.0, promise=DISK, note=note)

    def _absent(self, name: str, why: str) -> Row:
        return not_measured(f"{self.data.name}, {name}", "queries per second at recall@10 0.99", "1/s", OTHERS, why)

    def _at(self, name: str, recall: float) -> Searched | None:
        """The fastest setting that reaches a recall, of the last repeat."""
        reached = [one for one in self.curves.points[name][-1] if one.point.recall >= recall]
        return max(reached, key=lambda one: one.point.qps, default=None)

    def _qps(self, name: str, at: Searched) -> float | None:
        return qps_at(self.curves.middle(name), at.point.recall)

    def _vector_bytes(self) -> int:
        return self.data.base.shape[1] * self.data.base.itemsize


def _promised(case: str, metric: str, value: float, least: float, promise: str, note: str | None = None) -> Row:
    return row(case, metric, "x", [value], better="more", limit=least, promise=promise, note=note)


if __name__ == "__main__":
    raise SystemExit(main())
