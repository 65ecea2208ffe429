"""Vector search with everything in main memory, one thread: ``python -m benchmarks.vectors_memory``.

Our indexes against SymphonyQG, RaBitQ lists and HNSW (rabitqlib), faiss, hnswlib, usearch and SVS, each in a process of
its own on one core, in turn on the same queries. Queries per second are read off each engine's curve at a recall@10 of
0.95 and 0.99; sizes are those of the saved index as a share of the vectors in float32. Peers are measured where
``--peer-python`` names an interpreter that has them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from benchmarks.options import Options, line, parse
from benchmarks.peers.vector_engines import PEERS
from benchmarks.results_file import Row, not_measured, row
from benchmarks.vectors.data import VectorData
from benchmarks.vectors.engines import Curves, Spec, VectorEngine, measured, opened
from benchmarks.vectors.options import chosen, data_sets, finish, vector_parser

RECALLS = (0.95, 0.99)
BEST_PEER, LARGE, SMALL = "rabitqlib SymphonyQG", 0.60, 0.35
BUILD_S = 15.0
PROMISES = {
    LARGE: "QPS at recall@10 0.95 and 0.99 >= 1.0x SymphonyQG (56k / 35k) at <= 0.60x raw",
    SMALL: "above every peer at <= 0.35x raw",
}
#: Our variants, by the name of their rows.
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "fairlead graph": ("graph", {}),
    "fairlead graph, 2 lines": ("graph", {"lines": 2}),
    "fairlead graph, codes": ("graph", {"keep": "codes"}),
    "fairlead graph, codes, 2 lines": ("graph", {"keep": "codes", "lines": 2}),
    "fairlead graph, fine": ("graph", {"keep": "fine"}),
    "fairlead lists": ("lists", {}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    options = parse("vectors_memory", __doc__, repeats=3, quick=1, arguments=arguments, more=vector_parser())
    rows: list[Row] = []
    conditions: dict[str, Any] = {"threads": 1, "build_threads": 2, "k": 10}
    sets = data_sets(options)
    for data in sets:
        found, facts = of_data(options, data)
        rows += found
        conditions[data.name] = facts
    if options.more.tune:
        for item in rows:
            print(line(item))
        return 0
    finish(options, conditions, rows, sets)
    return 0


def of_data(options: Options, data: VectorData) -> tuple[list[Row], dict[str, Any]]:
    """All rows of one data set, and its curves."""
    engines, missing = opened(chosen(options, specs(options)), data, core=core_of(options))
    try:
        part = "dev" if options.more.tune or options.quick else "final"
        curves = measured(engines, part, options.repeats, limit=500 if options.quick else None)
        rows = compared(data, engines, curves)
        facts: dict[str, Any] = {"about": data.about, "queries": part, "missing": missing}
        facts["curves"] = {
            engine.spec.name: {
                "share_of_raw": round(share(engine), 3),
                "resident_share": round(engine.resident_share, 3),
                "build_s": round(engine.built["seconds"], 1),
                "points": [[round(one.recall, 4), round(one.qps)] for one in curves.middle(engine.spec.name)],
            }
            for engine in engines
        }
        return rows, facts
    finally:
        for engine in engines:
            engine.close()


def specs(options: Options) -> list[Spec]:
    """Ours and the peers."""
    ours = [Spec.ours(name, kind, **given) for name, (kind, given) in OURS.items()]
    python = options.more.peer_python
    return ours + ([Spec.peer(name, python) for name in PEERS if name != "DiskANN SSD"] if python else [])


def core_of(options: Options) -> int:
    """The core that engines search on."""
    return max(os.sched_getaffinity(0)) if options.more.core is None else options.more.core


def share(engine: VectorEngine) -> float:
    """An index's bytes as a share of the vectors in float32: ours as it counts them itself, a peer's as saved."""
    told = engine.opened
    if "dram_bytes" in told:
        return (told["dram_bytes"] + told["tier_bytes"]) / engine.data.raw_bytes
    return engine.saved_share


def compared(data: VectorData, engines: Sequence[VectorEngine], curves: Curves) -> list[Row]:
    """The promises, and ours beside every peer."""
    ours = [engine for engine in engines if engine.spec.name in OURS]
    peers = [engine for engine in engines if engine.spec.name not in OURS]
    rows = []
    for recall in RECALLS:
        rows.append(_promised(data, ours, [one for one in peers if one.spec.name == BEST_PEER], curves, recall, LARGE))
        small = [one for one in peers if share(one) <= SMALL]
        rows.append(_promised(data, ours, small, curves, recall, SMALL))
        rows += [_beside(data, ours, peer, curves, recall) for peer in peers]
    rows += [_sized(data, engine) for engine in ours] + [_built(data, engine) for engine in ours]
    return rows


def _promised(
    data: VectorData,
    ours: Sequence[VectorEngine],
    peers: Sequence[VectorEngine],
    curves: Curves,
    recall: float,
    most: float,
) -> Row:
    case, metric = f"{data.name}, <= {most:.2f}x raw", f"queries per second at recall@10 {recall}"
    mine = _fastest([one for one in ours if share(one) <= most], curves, recall)
    theirs = _fastest(peers, curves, recall)
    if mine is None or theirs is None:
        lacking = "none of ours of that size reaches it" if mine is None else "no such peer was measured"
        return not_measured(case, metric, "1/s", PROMISES[most], lacking)
    (engine, qps), (peer, peer_qps) = mine, theirs
    note = f"{engine.spec.name} ({share(engine):.3f}x raw) against {peer.spec.name} ({share(peer):.3f}x raw)"
    return row(case, metric, "1/s", qps, peer_qps, better="more", target=1.0, promise=PROMISES[most], note=note)


def _fastest(engines: Sequence[VectorEngine], curves: Curves, recall: float) -> tuple[VectorEngine, list[float]] | None:
    reached = [(engine, qps) for engine in engines if (qps := curves.at(engine.spec.name, recall))]
    return max(reached, key=lambda one: sorted(one[1])[len(one[1]) // 2], default=None)


def _beside(data: VectorData, ours: Sequence[VectorEngine], peer: VectorEngine, curves: Curves, recall: float) -> Row:
    case = f"{data.name}, beside {peer.spec.name} ({share(peer):.3f}x raw)"
    metric = f"queries per second at recall@10 {recall}"
    mine, theirs = _fastest(ours, curves, recall), curves.at(peer.spec.name, recall)
    if mine is None:
        return Row(case, metric, "1/s", None, note="none of ours reaches it")
    engine, qps = mine
    note = f"{engine.spec.name} ({share(engine):.3f}x raw)" + ("" if theirs else "; the peer does not reach it")
    return row(case, metric, "1/s", qps, theirs, better="more", note=note)


def _sized(data: VectorData, engine: VectorEngine) -> Row:
    note = f"resident memory after opening {engine.resident_share:.3f}x, saved {engine.saved_share:.3f}x"
    return row(f"{data.name}, {engine.spec.name}", "index bytes / raw", "x", [share(engine)], note=note)


def _built(data: VectorData, engine: VectorEngine) -> Row:
    limit = BUILD_S if data.name == "fashion-mnist" and engine.spec.engine == "graph" else None
    note = f"{engine.built['processor_s']:.1f} s of processor time on 2 threads"
    return row(f"{data.name}, {engine.spec.name}", "build", "s", [engine.built["seconds"]], limit=limit, note=note)


if __name__ == "__main__":
    raise SystemExit(main())
