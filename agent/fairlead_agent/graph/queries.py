"""Questions about capacity, artifacts and instances. All answers are in a fixed order: same graph, same answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fairlead_agent.graph.capacity import Capacity, CapacityIndex
from fairlead_agent.graph.indexes import CORES
from fairlead_agent.graph.keys import artifact_id
from fairlead_agent.graph.kinds import EdgeKind
from fairlead_agent.graph.store import ResourceGraph
from fairlead_agent.graph.vertex import Vertex

_NOTHING = CapacityIndex()


@dataclass(frozen=True, slots=True)
class Need:
    """What an instance needs of one node.

    Each tier's bytes must lie in one vertex (a GPU cannot borrow from its neighbour). ``sigmas`` and ``fresh_since``
    say how far measurements are trusted: free capacity counts less that many standard deviations, and not at all where
    it was measured before that Unix time.
    """

    memory_bytes: Mapping[str, float] = field(default_factory=dict[str, float])
    cores: float = 0.0
    simulated: bool = False
    """Whether hardware that a profile only pretends to have will do."""
    sigmas: float = 0.0
    fresh_since: float | None = None

    def amounts(self) -> dict[str, float]:
        """The needed amount of each resource."""
        needed = {tier: amount for tier, amount in self.memory_bytes.items() if amount > 0}
        return needed | ({CORES: self.cores} if self.cores > 0 else {})

    def met_by(self, capacity: Capacity, amount: float) -> bool:
        """Whether one vertex has ``amount`` free."""
        _, _, (value, measured_at, uncertainty), simulated = capacity
        if simulated and not self.simulated:
            return False
        if self.fresh_since is not None and measured_at < self.fresh_since:
            return False
        return value - self.sigmas * uncertainty >= amount


def free_capacity(graph: ResourceGraph, node: str | None = None, *, simulated: bool = False) -> dict[str, float]:
    """Free amount by resource (bytes of each tier, and ``cores``), of one node or of the site, simulated or real."""
    totals: dict[str, float] = {}
    for resource, index in sorted(graph.indexes.capacity.items()):
        found = index.by_vertex if node is None else index.by_node.get(node, {})
        free = [capacity.free.value for capacity in found.values() if capacity.simulated is simulated]
        if free:
            totals[resource] = sum(free)
    return totals


def candidates(graph: ResourceGraph, need: Need) -> Iterator[str]:
    """Nodes on which ``need`` fits, those with the most of the scarcest resource first.

    Lazy: who wants ten candidates pays for ten.
    """
    amounts = need.amounts()
    if not amounts:
        yield from graph.indexes.parts
        return
    indexes = {resource: graph.indexes.capacity.get(resource, _NOTHING) for resource in amounts}
    scarcest = min(amounts, key=lambda resource: indexes[resource].count_at_least(amounts[resource]))
    amount = amounts.pop(scarcest)
    others = [(indexes[resource].by_node, other) for resource, other in amounts.items()]
    seen: set[str] = set()
    for found in indexes[scarcest].at_least(amount):
        if found.node in seen or not need.met_by(found, amount):
            continue
        seen.add(found.node)
        if all(_fits(by_node.get(found.node), need, other) for by_node, other in others):
            yield found.node


def fits(graph: ResourceGraph, node: str, need: Need) -> bool:
    """Whether ``need`` fits on a node."""
    capacity = graph.indexes.capacity
    return all(
        _fits(capacity.get(resource, _NOTHING).by_node.get(node), need, amount)
        for resource, amount in need.amounts().items()
    )


def _fits(on_node: Mapping[str, Capacity] | None, need: Need, amount: float) -> bool:
    for capacity in on_node.values() if on_node else ():  # noqa: SIM110 - any() takes twice as long
        if need.met_by(capacity, amount):
            return True
    return False


def holders(graph: ResourceGraph, digest: str) -> list[str]:
    """Nodes that keep a copy of an artifact."""
    return sorted({edge.node for edge in graph.indexes.holders.get(artifact_id(digest), {}).values()})


def instances(graph: ResourceGraph, workload: str) -> list[Vertex]:
    """The instances of a workload, by id."""
    found = graph.indexes.instances.get(workload, {})
    return [found[key] for key in sorted(found)]


def subtree(graph: ResourceGraph, node: str) -> list[Vertex]:
    """A node's vertices, itself first, then by id."""
    parts = graph.indexes.parts.get(node, {})
    return [parts[key] for key in sorted(parts)]


def children(graph: ResourceGraph, node: str) -> dict[str, list[str]]:
    """What lies in what on a node: by vertex id, the ids of its parts.

    ``contains`` and ``runs`` edges say so; a vertex without one lies in the node itself.
    """
    parts = graph.indexes.parts.get(node, {})
    inside: dict[str, str] = {}
    for _, edge in sorted(graph.indexes.edges.get(node, {}).items()):
        if edge.kind in (EdgeKind.CONTAINS, EdgeKind.RUNS) and edge.source in parts and edge.target in parts:
            inside.setdefault(edge.target, edge.source)
    listed: dict[str, list[str]] = {}
    for key in sorted(parts):
        if key != node:
            listed.setdefault(_parent(key, node, inside), []).append(key)
    return listed


def _parent(key: str, node: str, inside: Mapping[str, str]) -> str:
    # A ring of contains edges would hide its members: they are shown in the node itself.
    seen, above = {key}, inside.get(key, node)
    while above in inside and above not in seen:
        seen.add(above)
        above = inside[above]
    return node if above in seen else inside.get(key, node)
