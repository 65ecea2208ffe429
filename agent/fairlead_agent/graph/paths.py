"""Paths over directed links. Of several links between two nodes, each search takes the one that suits it best."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
"""(unknown links or negative width, latency, links), compared from the left."""
Step = Callable[[Edge], Cost | None]
"""What a link costs; None where it cannot be used."""
Join = Callable[[Cost, Cost], Cost]
"""The cost of two paths in a row."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a search minimizes."""

    step: Step
    join: Join
    nothing: Cost
    """The cost of the path without links."""


def widest_path(graph: ResourceGraph, source: str, target: str, *, simulated: bool = True) -> Path | None:
    """The path with the highest bandwidth; of equal ones the one with the least latency, then with fewer links.

    Returns None where no chain of links with a known bandwidth leads there. ``simulated``: whether links count that
    only a profile states.
    """
    widest = _search(graph, source, target, Metric(_width, max, (-math.inf, 0.0, 0)), simulated)
    if widest is None or source == target:
        return widest
    # The least latency among equally wide paths needs a search of its own: the widest way to a node on the path need
    # not be part of the best one.
    limit = widest.bandwidth_bits_per_s
    within = Metric(lambda link: _delay_within(link, limit), _add, (0.0, 0.0, 0))
    return _search(graph, source, target, within, simulated)


def shortest_path(graph: ResourceGraph, source: str, target: str, *, simulated: bool = True) -> Path | None:
    """The path with the least latency; of equal ones one with fewer links. Otherwise as :func:`widest_path`."""
    return _search(graph, source, target, Metric(_delay, _add, (0.0, 0.0, 0)), simulated)


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


def _width(link: Edge) -> Cost | None:
    bandwidth = _bandwidth(link)
    return (-bandwidth, 0.0, 0) if bandwidth > 0 else None


def _delay(link: Edge) -> Cost | None:
    latency = _latency(link)
    return (0.0, latency, 1) if latency < math.inf else None


def _delay_within(link: Edge, limit: float) -> Cost | None:
    if _bandwidth(link) < limit:
        return None
    latency = _latency(link)
    return (1.0, 0.0, 1) if latency == math.inf else (0.0, latency, 1)


def _add(left: Cost, right: Cost) -> Cost:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


@dataclass(slots=True)
class _Front:
    """One side of a search: Dijkstra's algorithm from one end."""

    links: Mapping[str, Mapping[str, Mapping[str, Edge]]]
    queue: list[tuple[Cost, str, str]]
    labels: dict[str, tuple[Cost, str]]
    """By node: the least cost so far and the key of the link that it was reached by."""
    done: set[str] = field(default_factory=set[str])

    def settle(self, metric: Metric, simulated: bool) -> list[str]:
        """Take the nearest node and look along its links; returns the nodes with a new label."""
        cost, node, _ = heapq.heappop(self.queue)
        if node in self.done:
            return []
        self.done.add(node)
        labelled: list[str] = []
        for neighbour, edges in self.links.get(node, {}).items():
            for key, link in edges.items():
                own = metric.step(link) if simulated or not link.simulated else None
                if own is not None and self._offer(neighbour, metric.join(cost, own), key):
                    labelled.append(neighbour)
        return labelled

    def _offer(self, node: str, cost: Cost, key: str) -> bool:
        known = self.labels.get(node)
        # The key decides between equal costs, so that all readers find the same path.
        if node in self.done or (known is not None and known <= (cost, key)):
            return False
        self.labels[node] = (cost, key)
        heapq.heappush(self.queue, (cost, node, key))
        return True


def _search(graph: ResourceGraph, source: str, target: str, metric: Metric, simulated: bool) -> Path | None:
    """Search from both ends at once (Pohl, 1971) until no better meeting point can come."""
    if source == target:
        return Path((source,), math.inf, 0.0) if source in graph.indexes.parts else None
    ends = _Front(graph.indexes.links, [(metric.nothing, source, "")], {source: (metric.nothing, "")})
    starts = _Front(graph.indexes.links_to, [(metric.nothing, target, "")], {target: (metric.nothing, "")})
    best: tuple[Cost, str] | None = None
    while ends.queue and starts.queue:
        if best is not None and metric.join(ends.queue[0][0], starts.queue[0][0]) >= best[0]:
            break
        front, other = (ends, starts) if len(ends.queue) <= len(starts.queue) else (starts, ends)
        for node in front.settle(metric, simulated):
            if node in other.labels:
                meeting = (metric.join(front.labels[node][0], other.labels[node][0]), node)
                best = meeting if best is None else min(best, meeting)
    return None if best is None else _walk(graph, ends, starts, best[1])


def _walk(graph: ResourceGraph, ends: _Front, starts: _Front, meeting: str) -> Path:
    before: list[Edge] = []
    node = meeting
    while key := ends.labels[node][1]:
        before.append(graph.edges[key])
        node = owner(before[-1].source)
    after: list[Edge] = []
    source, node = node, meeting
    while key := starts.labels[node][1]:
        after.append(graph.edges[key])
        node = owner(after[-1].target)
    links = [*reversed(before), *after]
    return Path(
        nodes=(source, *(owner(link.target) for link in links)),
        bandwidth_bits_per_s=min(map(_bandwidth, links)),
        latency_s=sum(map(_latency, links)),
        simulated=any(link.simulated for link in links),
    )
