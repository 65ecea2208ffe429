"""Which index a collection has: decided anew as it grows, by whoever knows the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from ..errors import TieredRetrievalError
from ..index import IndexKind
from ..space import Space

#: Where each kind of index is; imported when one is built or loaded.
KINDS = {
    "graph": "fairlead_tiered_retrieval.graph.graph_index:GraphIndex",
    "lists": "fairlead_tiered_retrieval.lists.list_index:ListIndex",
    "memory": "fairlead_tiered_retrieval.flat_index:FlatIndex",
    "codes": "fairlead_tiered_retrieval.coded_index:CodedIndex",
}
#: Those that make searches faster as collections grow, the preferred first.
APPROXIMATE = ("graph", "lists")
FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Situation:
    """What a choice rests on.

    Attributes:
        space: of the vectors.
        count: of vectors.
        memory_bytes: that an index and its build may take; None: not limited.
        plan: of the index that there is.
        built_with: vectors when it was built.
    """

    space: Space
    count: int
    memory_bytes: int | None
    plan: Plan
    built_with: int


@dataclass(frozen=True, slots=True)
class Plan:
    """An index that a collection is to have.

    Attributes:
        kind: ``flat`` or a key of `KINDS`.
        options: of the kind's `build`.
        region: URL of the region for what lies in a tier; None: this process's memory.
        reason: why, in words.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    region: str | None = None
    reason: str = ""

    def same_as(self, other: Plan) -> bool:
        """Whether an index of one plan is one of the other's."""
        return (self.kind, dict(self.options), self.region) == (other.kind, dict(other.options), other.region)


class IndexPolicy(Protocol):
    """Chooses indexes. Asked by background work, now and then, and after a collection was opened."""

    def choose(self, situation: Situation) -> Plan:
        """Return the index that there should be; another than there is: it is built while the old one serves."""
        ...


@dataclass(frozen=True, slots=True)
class BySize:
    """All vectors are compared below a number of them; above, a graph, or lists where there is no graph.

    Attributes:
        index_from: vectors from which on there is an index.
    """

    index_from: int

    def choose(self, situation: Situation) -> Plan:
        """Return the plan for a number of vectors: back to none only below half of it; exact ones stay."""
        if situation.plan.kind not in (FLAT, *APPROXIMATE):
            return situation.plan
        if situation.plan.kind != FLAT:
            few = situation.count < self.index_from // 2
            return Plan(FLAT, reason=f"{situation.count} vectors are few") if few else situation.plan
        for kind in available_kinds() if situation.count >= self.index_from else ():
            return Plan(kind, reason=f"{situation.count} vectors, {self.index_from} and more have an index")
        return situation.plan


def available_kinds() -> list[str]:
    """Return the approximate kinds of index that are installed, the preferred first."""
    return [kind for kind in APPROXIMATE if _is_there(KINDS[kind].partition(":")[0])]


def index_kind(kind: str) -> type[IndexKind]:
    """Return the class of a kind; raises TieredRetrievalError for one that there is not."""
    if kind not in KINDS:
        raise TieredRetrievalError(f"kind of index {kind!r}; accepted: {FLAT}, {', '.join(KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_module(module), name)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
