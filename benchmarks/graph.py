"""The resource graph of a large site. Run: ``PYTHONPATH=agent python -m benchmarks.graph``.

Peer: networkx (a DiGraph with attributes), doing the same with the same vertices and edges.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

from benchmarks.results_file import Row, row, write_results
from fairlead_agent.graph import (
    Edge,
    EdgeKind,
    Entry,
    Measured,
    Need,
    ResourceGraph,
    ShardUpdate,
    Vertex,
    VertexKind,
    candidates,
    shortest_path,
    widest_path,
)
from fairlead_agent.messages import GraphUpdate

try:
    import networkx
except ImportError:  # the peer is optional
    networkx = None

MIB = 1 << 20
GIB = 1 << 30
NEED = Need({"dram": 20 * GIB, "vram": 20 * GIB}, cores=8.0)
COMMON_NEED = Need({"dram": 256 * MIB}, cores=0.5)


def site(nodes: int, seed: int) -> list[ShardUpdate]:
    """One full update per node: six vertices, two links; 60 % phones, 30 % edge boxes, 10 % GPU servers."""
    random = Random(seed)
    names = [f"node-{index}" for index in range(nodes)]
    return [_update(name, names, random) for name in names]


def _update(name: str, names: list[str], random: Random) -> ShardUpdate:
    scale = random.choices((1, 4, 32), (60, 30, 10))[0]
    at = 1.75e9 + random.random()

    def measured(**values: float) -> dict[str, Measured]:
        return {key: Measured(value, at, value / 100) for key, value in values.items()}

    free = random.random()
    tier = "vram" if scale == 32 else "swap"
    parts = [
        Vertex(name, VertexKind.NODE, measured(power_watts=3.0 * scale, memory_pressure=free / 10)),
        Vertex(f"{name}/cpu0", VertexKind.PROCESSOR, measured(cores=2.0 * scale, cores_free=2.0 * scale * free)),
        Vertex(
            f"{name}/dram",
            VertexKind.MEMORY,
            measured(total_bytes=scale * GIB, free_bytes=int(scale * GIB * free)),
            {"tier": "dram"},
        ),
        Vertex(f"{name}/{tier}", VertexKind.MEMORY, measured(free_bytes=int(scale * GIB * free)), {"tier": tier}),
        Vertex(f"{name}/disk", VertexKind.STORAGE, measured(free_bytes=scale * 8 * GIB, read_bytes_per_s=5e8 * scale)),
        Vertex(f"{name}/radio", VertexKind.RADIO, measured(bandwidth_bits_per_s=1e7 * scale)),
    ]
    targets = [target for target in random.sample(names, 3) if target != name][:2]
    links = [
        Edge(
            name,
            EdgeKind.LINK,
            target,
            measured(bandwidth_bits_per_s=random.uniform(1e6, 1e9), latency_s=random.uniform(0.001, 0.05)),
        )
        for target in targets
    ]
    return ShardUpdate(name, 1, 1, True, tuple(Entry(value.key, 1, value) for value in (*parts, *links)))


def merge_all(updates: list[ShardUpdate]) -> ResourceGraph:
    """Ours: the graph of a site."""
    graph = ResourceGraph()
    for update in updates:
        graph.merge(update)
    return graph


def networkx_merge(updates: list[ShardUpdate]) -> Any:
    """The peer: a DiGraph; vertices and edges keep their attributes."""
    graph = networkx.DiGraph()
    for update in updates:
        for entry in update.entries:
            value = entry.value
            if isinstance(value, Vertex):
                graph.add_node(value.id, kind=value.kind, node=value.node, tier=value.tier, **value.measured)
            elif value is not None:
                graph.add_edge(value.source, value.target, kind=value.kind, **value.measured)
    return graph


def networkx_candidates(graph: Any, need: Need) -> list[str]:
    """The peer: a pass over all vertices, as networkx keeps no index of attributes."""
    amounts = need.amounts()
    met: dict[str, set[str]] = {}
    for _, data in graph.nodes(data=True):
        resource = "cores" if data.get("kind") is VertexKind.PROCESSOR else data.get("tier")
        if resource in amounts:
            free = data["cores_free"] if resource == "cores" else data["free_bytes"]
            if free.value >= amounts[resource]:
                met.setdefault(data["node"], set()).add(resource)
    return [node for node, resources in met.items() if len(resources) == len(amounts)]


def networkx_path(graph: Any, source: str, target: str) -> list[str] | None:
    """The peer: Dijkstra on latency."""
    try:
        return networkx.shortest_path(graph, source, target, weight=lambda _a, _b, link: link["latency_s"].value)
    except networkx.NetworkXNoPath:
        return None


def wire(updates: list[ShardUpdate]) -> list[bytes]:
    """The payloads as they travel, envelope not counted."""
    return [json.dumps(update.to_mapping()).encode() for update in updates]


def read_and_merge(payloads: list[bytes]) -> ResourceGraph:
    """Ours, from bytes: JSON, message model, entries, merge."""
    graph = ResourceGraph()
    for payload in payloads:
        graph.merge(ShardUpdate.from_message(GraphUpdate.model_validate_json(payload)))
    return graph


def timed(action: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes (other processes share the machine), with a clean heap before it."""
    gc.collect()
    start = time.process_time()
    action()
    return time.process_time() - start


def measure(repeats: int, ours: Callable[[], object], peer: Callable[[], object] | None) -> tuple[list[float], ...]:
    """Times of ours and the peer's, taken in turn."""
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        mine.append(timed(ours))
        if peer is not None:
            theirs.append(timed(peer))
    return mine, theirs


def rows(nodes: int, repeats: int, seed: int) -> Iterator[Row]:
    """All measurements."""
    updates = site(nodes, seed)
    graph = merge_all(updates)
    peer = networkx_merge(updates) if networkx else None
    random = Random(seed)
    ends = [(f"node-{random.randrange(nodes)}", f"node-{random.randrange(nodes)}") for _ in range(5)]
    case = f"{nodes} nodes, {len(graph.vertices)} vertices, {len(graph.edges)} edges"

    def both(
        metric: str,
        unit: str,
        scale: float,
        ours: Callable[[], object],
        theirs: Callable[[], object] | None,
        limit: float | None,
        target: float | None = None,
    ) -> Row:
        mine, peers = measure(repeats, ours, theirs if networkx else None)
        limit_here = limit if nodes >= 10_000 else None
        return row(
            case,
            metric,
            unit,
            [value * scale for value in mine],
            [value * scale for value in peers] or None,
            limit=limit_here,
            target=target,
        )

    yield both("merge of all snapshots", "s", 1, lambda: merge_all(updates), lambda: networkx_merge(updates), 1.0)
    payloads = wire(updates)
    yield both("read from JSON and merge", "s", 1, lambda: read_and_merge(payloads), None, None)
    assert peer is None or set(candidates(graph, NEED)) == set(networkx_candidates(peer, NEED))
    yield both(
        "nodes for a large need (dram, vram, cores)",
        "ms",
        1e3,
        lambda: list(candidates(graph, NEED)),
        lambda: networkx_candidates(peer, NEED),
        5.0,
        1.0,
    )
    yield both(
        "first 32 nodes for a small need (dram, cores)",
        "ms",
        1e3,
        lambda: list(islice(candidates(graph, COMMON_NEED), 32)),
        lambda: networkx_candidates(peer, COMMON_NEED),
        5.0,
        1.0,
    )
    yield both(
        "all nodes for a small need (dram, cores)",
        "ms",
        1e3,
        lambda: list(candidates(graph, COMMON_NEED)),
        lambda: networkx_candidates(peer, COMMON_NEED),
        None,
        1.0,
    )
    yield both(
        "least-latency path, mean of 5 pairs",
        "ms",
        200.0,
        lambda: [shortest_path(graph, *pair) for pair in ends],
        lambda: [networkx_path(peer, *pair) for pair in ends],
        None,
    )
    yield both(
        "widest path, mean of 5 pairs", "ms", 200.0, lambda: [widest_path(graph, *pair) for pair in ends], None, None
    )
    again = iter(_later(updates[:1000]))
    yield both("merge of one node's change, mean of 100", "us", 1e4, lambda: _merge_some(graph, again), None, 200.0)


def _later(updates: list[ShardUpdate]) -> Iterator[ShardUpdate]:
    seq = 1
    while True:
        seq += 1
        for update in updates:
            value = update.entries[2].value
            assert isinstance(value, Vertex)
            free = Measured(seq * 1000.0, 1.75e9 + seq)
            entry = Entry(value.key, seq, Vertex(value.id, value.kind, {"free_bytes": free}, value.properties))
            yield ShardUpdate(update.node, 1, seq, False, (entry,))


def _merge_some(graph: ResourceGraph, changes: Iterator[ShardUpdate]) -> None:
    for change in islice(changes, 100):
        graph.merge(change)


def main() -> None:
    """Measure and write results/graph.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if networkx is None:
        print("skipped: no peer, networkx is not installed")
    found = list(rows(asked.nodes, asked.repeats, asked.seed))
    for item in found:
        print(f"{item.metric}: {item.ours:.4g} {item.unit} (peer {item.peer}, holds {item.holds})")
    command = f"python -m benchmarks.graph --nodes {asked.nodes} --repeats {asked.repeats} --seed {asked.seed}"
    conditions = {
        "nodes": asked.nodes,
        "repeats": asked.repeats,
        "seed": asked.seed,
        "peer": "networkx.DiGraph",
        "clock": "processor time",
    }
    write_results("graph", command, conditions, found)


if __name__ == "__main__":
    main()
