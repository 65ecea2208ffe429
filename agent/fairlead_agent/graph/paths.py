"""Paths over directed links. Of several links between two nodes, each search takes the one that suits it best."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fairlead_agent.graph.edge import Edge
from fairlead_agent.graph.keys import owner
from fairlead_agent.graph.store import ResourceGraph


@dataclass(frozen=True, slots=True)
class Path:
    """A way from the first to the last of ``nodes``."""

    nodes: tuple[str, ...]
    bandwidth_bits_per_s: float
    """Of its narrowest link; infinite within one node, 0 where a link's is unknown."""
    latency_s: float
    """Sum over its links; infinite where a link's is unknown."""
    simulated: bool = False
    """Whether a link on it is only stated by a profile."""

    def transfer_s(self, size_bytes: float) -> float:
        """Time until ``size_bytes`` have arrived, store and forward not counted."""
        if size_bytes <= 0:
            return self.latency_s
        return self.latency_s + (
            8.0 * size_bytes / self.bandwidth_bits_per_s if self.bandwidth_bits_per_s else math.inf
        )


Cost = tuple[float, float, int]
Step = Callable[[Cost, Edge], Cost | None]
"""The cost of a path with one more link; None where the link cannot be used."""


def widest_path(graph: ResourceGraph, source: str, target: str, *, simulated: bool = True) -> Path | None:
    """The path with the highest bandwidth; of equal ones the one with the least latency, then with fewer links.

    Returns None where no chain of links with a known bandwidth leads there. ``simulated``: whether links count that
    only a profile states.
    """
    widest = _search(graph, source, target, _narrower, simulated, start=-math.inf)
    if widest is None or source == target:
        return widest
    # The least latency among equally wide paths needs a search of its own: the widest way to a node on the path need
    # not be part of the best one.
    limit = widest.bandwidth_bits_per_s
    return _search(graph, source, target, lambda cost, link: _later_within(cost, link, limit), simulated)


def shortest_path(graph: ResourceGraph, source: str, target: str, *, simulated: bool = True) -> Path | None:
    """The path with the least latency; of equal ones one with fewer links. Otherwise as :func:`widest_path`."""
    return _search(graph, source, target, _later, simulated)


def quickest_path(
    graph: ResourceGraph, source: str, target: str, size_bytes: float, *, simulated: bool = True
) -> Path | None:
    """Of the widest and the shortest path, the one over which ``size_bytes`` arrive first."""
    found = (search(graph, source, target, simulated=simulated) for search in (widest_path, shortest_path))
    paths = [path for path in found if path is not None]
    return min(paths, key=lambda path: path.transfer_s(size_bytes), default=None)


def _bandwidth(link: Edge) -> float:
    measured = link.measured.get("bandwidth_bits_per_s")
    return 0.0 if measured is None else measured.value


def _latency(link: Edge) -> float:
    measured = link.measured.get("latency_s")
    return math.inf if measured is None else measured.value


def _narrower(cost: Cost, link: Edge) -> Cost | None:
    bandwidth = _bandwidth(link)
    return (max(cost[0], -bandwidth), 0.0, cost[2] + 1) if bandwidth > 0 else None


def _later(cost: Cost, link: Edge) -> Cost | None:
    latency = _latency(link)
    return (0.0, cost[1] + latency, cost[2] + 1) if latency < math.inf else None


def _later_within(cost: Cost, link: Edge, limit: float) -> Cost | None:
    if _bandwidth(link) < limit:
        return None
    latency = _latency(link)
    unknown = latency == math.inf
    return (cost[0] + unknown, cost[1] + (0.0 if unknown else latency), cost[2] + 1)


def _search(
    graph: ResourceGraph, source: str, target: str, step: Step, simulated: bool, start: float = 0.0
) -> Path | None:
    """Dijkstra's algorithm; the link's key decides between equal costs, so that all readers find the same path."""
    if source == target:
        return Path((source,), math.inf, 0.0) if source in graph.indexes.parts else None
    arrived: dict[str, Edge] = {}
    queue: list[tuple[Cost, str, str]] = [((start, 0.0, 0), source, "")]
    while queue:
        cost, node, key = heapq.heappop(queue)
        if node in arrived:
            continue
        if key:
            arrived[node] = graph.edges[key]
        if node == target:
            return _walk(arrived, source, target)
        for neighbour, link_key, link in _links(graph, node, simulated):
            further = None if neighbour in arrived or neighbour == source else step(cost, link)
            if further is not None:
                heapq.heappush(queue, (further, neighbour, link_key))
    return None


def _links(graph: ResourceGraph, source: str, simulated: bool) -> Iterator[tuple[str, str, Edge]]:
    for target, edges in graph.indexes.links.get(source, {}).items():
        for key, edge in edges.items():
            if simulated or not edge.simulated:
                yield target, key, edge


def _walk(arrived: Mapping[str, Edge], source: str, target: str) -> Path:
    links: list[Edge] = []
    node = target
    while node != source:
        links.append(arrived[node])
        node = owner(arrived[node].source)
    return Path(
        nodes=(source, *(owner(link.target) for link in reversed(links))),
        bandwidth_bits_per_s=min(map(_bandwidth, links)),
        latency_s=sum(map(_latency, links)),
        simulated=any(link.simulated for link in links),
    )
