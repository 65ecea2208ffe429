"""The advisor as a store's policy: which index a collection has, decided anew as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..store.policy import FLAT, Plan, Situation, available_kinds
from .advice import Advice, NoPlan, Target, advise
from .costs import Cost, Shape, Speeds, Tier

#: A new index is built only where the count has changed by this factor since the last one was.
GROWN = 2.0


@dataclass(frozen=True, slots=True)
class Advised:
    """Chooses by what searches cost on this device.

    Attributes:
        index_from: vectors from which on there may be an index.
        recall: of searches that do not say which they want.
        tiers: that vectors may lie in; main memory is the one without a URL.
        speeds: of the processor.
    """

    index_from: int
    recall: float = 0.95
    tiers: Sequence[Tier] = (Tier(),)
    speeds: Speeds = field(default_factory=Speeds)

    def choose(self, situation: Situation) -> Plan:
        """Return the plan that the advisor prefers; the one in force where it may stay.

        An index stays while it holds between half and twice as many vectors as when it was built, so that it is not
        built again and again at a border.
        """
        plan, count = situation.plan, situation.count
        if plan.kind != FLAT:
            if count < self.index_from // 2:
                return Plan(FLAT, reason=f"{count} vectors are few")
            if situation.built_with and 1 / GROWN < count / situation.built_with < GROWN:
                return plan
        elif count < self.index_from:
            return plan
        kinds = available_kinds()
        try:
            advice = self.advice(situation)
        except NoPlan as problem:
            return Plan(plan.kind, plan.options, plan.region, f"kept, as {problem}")
        fit = [cost for cost in (advice.best, *advice.others) if _can_be(cost, kinds)]
        if not fit:
            return plan
        best = fit[0]
        if best.kind == plan.kind and plan.region == (best.tier.url or None):
            return plan
        return Plan(best.kind, region=best.tier.url or None, reason=" ".join(advice.reasons))

    def advice(self, situation: Situation) -> Advice:
        """Return what the advisor says, with its reasons."""
        space = situation.space
        shape = Shape(situation.count, space.dim, space.bytes)
        return advise(shape, Target(self.recall, memory_bytes=situation.memory_bytes), self.tiers, self.speeds)


def _can_be(cost: Cost, kinds: Sequence[str]) -> bool:
    """Whether there is such an index."""
    return cost.kind == FLAT or cost.kind in kinds
