"""Fits the collections into a budget: the largest leave main memory first, and come back when there is room."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.plugin import Budget, BudgetReply

from ..cost import CODES_SHARE
from ..errors import TieredRetrievalError
from ..space import Space
from ..store.policy import FLAT
from ..store.store import Store
from .placement import Placement, tier_of

MIB = 2**20
#: Of what the process has beside its collections, that moving one may take.
MOVING_BYTES = 16 * MIB
#: Free bytes that a collection must leave when it comes back, as a share of what it takes: else it would go and come.
ROOM = 0.25


@dataclass(frozen=True, slots=True)
class Need:
    """One collection's main memory: now, and with its vectors in a lower tier.

    Attributes:
        tier: in which its vectors lie.
        now, lower, whole: bytes now, in a lower tier, and with its vectors in main memory.
    """

    name: str
    tier: str
    now: int
    lower: int
    whole: int


class Pressure:
    """Answers budgets for one store.

    Args:
        store: has the collections.
        placement: moves them.
        base_bytes: that the process takes beside them.
    """

    def __init__(self, store: Store, placement: Placement, base_bytes: int) -> None:
        self._store, self._placement, self._base = store, placement, base_bytes
        #: Collections that left main memory for a budget, and return for one.
        self.pressed: set[str] = set()

    def fit(self, budget: Budget) -> BudgetReply:
        """Move collections until the budget holds; below the least nothing is moved and it is refused."""
        limit = budget.memory_bytes.get("dram")
        needs = self.needs()
        minimum = self._base + sum(min(need.now, need.lower) for need in needs)
        if limit is not None and limit < minimum:
            reason = f"{limit} bytes of dram: accepted: {minimum} and above, codes alone take as much"
            return self._reply(accepted=False, reason=reason)
        # The old limit holds until this answers: what moves is in main memory twice for a moment.
        problems = self._shrunk(limit, needs) if limit is not None else []
        self._store.limit(None if limit is None else limit - self._base)
        self._grown(limit)
        return self._reply(reason="; ".join(problems), accepted=not problems)

    def needs(self) -> list[Need]:
        """What each collection takes, those that free the most first."""
        found = []
        for name in self._store.names():
            collection = self._store.collection(name)
            status, space = collection.status(), collection.space
            vectors = status.count * space.bytes
            own = status.sizes.tier_bytes if not status.plan.region and status.plan.kind != FLAT else 0
            beside = status.memory_bytes - status.sizes.dram_bytes - own
            codes = beside + codes_bytes(space, status.count, many=self._placement.many(collection))
            tier = tier_of(status.plan)
            lower = status.memory_bytes if tier != "dram" else min(status.memory_bytes, codes)
            whole = status.memory_bytes + (vectors if tier != "dram" else 0)
            found.append(Need(name, tier, status.memory_bytes, lower, whole))
        return sorted(found, key=lambda need: need.lower - need.now)

    def _shrunk(self, limit: int, needs: list[Need]) -> list[str]:
        problems, old = [], self._store.memory.budget
        self._store.limit(None if old is None else old + MOVING_BYTES)
        for need in needs:
            if self._base + self._store.memory.used <= limit:
                break
            if need.tier != "dram" or need.lower >= need.now:
                continue
            try:
                self._placement.move(need.name, self._placement.lower())
                self.pressed.add(need.name)
            except TieredRetrievalError as error:
                problems.append(f"{need.name} stays in main memory: {error}")
        return problems if self._base + self._store.memory.used > limit else []

    def _grown(self, limit: int | None) -> None:
        for need in self.needs():
            if need.name not in self.pressed or need.tier == "dram":
                continue
            wanted = self._base + self._store.memory.used + int((need.whole - need.now) * (1 + ROOM))
            if limit is None or wanted <= limit:
                self._placement.move(need.name, "dram")
                self.pressed.discard(need.name)

    def _reply(self, *, accepted: bool = True, reason: str = "") -> BudgetReply:
        needs, used = self.needs(), self._store.memory.used
        return BudgetReply(
            in_use={"dram": self._base + used},
            minimum={"dram": self._base + sum(min(need.now, need.lower) for need in needs)},
            marginal_cost={"dram": self.marginal_cost(needs)},
            accepted=accepted,
            reason=reason,
        )

    def marginal_cost(self, needs: list[Need]) -> float:
        """Share of the throughput that the next MiB is worth: what a move to a lower tier costs, by the bytes it frees.

        A search takes about twice as long where its vectors come from a file or over a network.
        """
        budget = self._store.memory.budget
        if budget is None or budget - self._store.memory.used >= MIB:
            return 0.0
        freed = [need.now - need.lower for need in needs if need.tier == "dram" and need.now > need.lower]
        return min(1.0, 0.5 * MIB / max(freed)) if freed else 0.0


def codes_bytes(space: Space, count: int, *, many: bool) -> int:
    """Main memory of an index whose vectors lie in a lower tier, about: codes and tables.

    Args:
        space: of the vectors.
        count: of vectors.
        many: whether its kind is the one for many vectors.
    """
    return int(count * (space.dim * 4 * CODES_SHARE + 64)) if many else count * (space.columns + 112)
