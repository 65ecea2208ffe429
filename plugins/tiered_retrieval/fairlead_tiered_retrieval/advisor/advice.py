"""Chooses kind of index, bits of its codes and tier of its vectors, and says why. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TieredRetrievalError
from .costs import IN_FLIGHT, TIER_BITS, Cost, Shape, Speeds, Tier, flat_cost, graph_cost, lists_cost

BITS = (1, 2, 4, 8)
#: An index that is not so many times faster than comparing all vectors is not worth keeping.
WORTH = 2.0


class NoPlan(TieredRetrievalError):
    """Nothing reaches the target on this device."""


@dataclass(frozen=True, slots=True)
class Target:
    """What searches must reach.

    Attributes:
        recall: of the nearest `k`, 0.5 to 0.9999.
        k: how many are asked for.
        latency_s: of a search alone on the device; None: any.
        memory_bytes: of main memory that the index may take; None: not limited.
        per_second: searches a second on one core; None: as many as there can be.
    """

    recall: float = 0.95
    k: int = 10
    latency_s: float | None = None
    memory_bytes: int | None = None
    per_second: float | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.recall <= 0.9999:
            raise TieredRetrievalError(f"recall = {self.recall}; accepted: 0.5 to 0.9999")
        for name in ("k", "latency_s", "memory_bytes", "per_second"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise TieredRetrievalError(f"{name} = {value}; accepted: above 0")


@dataclass(frozen=True, slots=True)
class Advice:
    """A choice.

    Attributes:
        best: what it costs.
        others: what else reaches the target, the better first.
        reasons: sentences.
    """

    best: Cost
    others: tuple[Cost, ...]
    reasons: tuple[str, ...]


def advise(shape: Shape, target: Target, tiers: Sequence[Tier], speeds: Speeds = Speeds()) -> Advice:
    """Return the cheapest plan that reaches the target.

    Where a number of searches a second is asked for, the plan that takes the least main memory among those that reach
    it; else the one with the most searches a second. Plans within 5 % are equal, and of those the smaller is taken;
    and comparing all vectors is preferred where nothing is twice as fast.

    Args:
        shape: of the data.
        target: to reach.
        tiers: that there are; main memory (kind ``dram``) is one only if it is named.
        speeds: of the processor.

    Raises:
        NoPlan: none reaches it; the message says what each kind of limit left out.
    """
    if not tiers:
        raise NoPlan("tiers = []; accepted: at least one")
    all_costs = candidates(shape, target, tiers, speeds)
    refused = {id(cost): why for cost in all_costs if (why := _refused(cost, target))}
    fit = [cost for cost in all_costs if id(cost) not in refused]
    if not fit:
        raise NoPlan(_nothing(all_costs, target))
    ordered = sorted(fit, key=lambda cost: _rank(cost, target, fit))
    best, others = ordered[0], tuple(ordered[1:])
    return Advice(best, others, tuple(_reasons(best, others, refused, all_costs, shape, target)))


def candidates(shape: Shape, target: Target, tiers: Sequence[Tier], speeds: Speeds) -> list[Cost]:
    """Return every plan's cost: all kinds, tiers, and bits that an index of the kind has there."""
    costs = [flat_cost(shape, speeds, tier) for tier in tiers if tier.kind == "dram"]
    for tier in tiers:
        for bits in BITS:
            costs.append(lists_cost(shape, speeds, tier, bits, target.recall, target.k))
            if tier.kind == "dram" or bits <= TIER_BITS:
                costs.append(graph_cost(shape, speeds, tier, bits, target.recall, target.k))
    return costs


def describe(cost: Cost) -> str:
    """Return a plan in words."""
    kind = {"flat": "comparing all", "graph": "a graph", "lists": "clusters"}[cost.kind]
    codes = "" if cost.kind == "flat" else f" on {cost.bits}-bit codes"
    where = "main memory" if cost.tier.kind == "dram" else f"the {cost.tier.kind} tier"
    return f"{kind}{codes} with vectors in {where}"


def _sentence(cost: Cost) -> str:
    words = describe(cost)
    return words[0].upper() + words[1:]


def _refused(cost: Cost, target: Target) -> str:
    """Why a plan does not reach the target; empty where it does."""
    if target.memory_bytes is not None and cost.dram_bytes > target.memory_bytes:
        return "memory"
    if cost.tier.free_bytes is not None and max(cost.tier_bytes, 0) > cost.tier.free_bytes:
        return "room in the tier"
    if target.latency_s is not None and cost.latency_s > target.latency_s:
        return "latency"
    if target.per_second is not None and cost.per_second < target.per_second:
        return "searches a second"
    return ""


def _rank(cost: Cost, target: Target, fit: Sequence[Cost]) -> tuple[float, float]:
    """Lower is better."""
    if target.per_second is not None:
        return (float(cost.dram_bytes), -cost.per_second)
    most = max(one.per_second for one in fit)
    if cost.kind == "flat" and cost.per_second * WORTH >= most:
        return (-1.0, 0.0)
    # Within 5 % of the fastest, size decides.
    return (0.0, float(cost.dram_bytes)) if cost.per_second >= 0.95 * most else (1.0, -cost.per_second)


def _reasons(
    best: Cost, others: Sequence[Cost], refused: dict[int, str], costs: Sequence[Cost], shape: Shape, target: Target
) -> list[str]:
    said = [
        f"{_sentence(best)}: {best.per_second:,.0f} searches a second on a core at recall {target.recall:g}, "
        f"{best.latency_s * 1e6:,.0f} us each, {best.dram_bytes / 2**20:,.1f} MiB of main memory "
        f"({best.dram_bytes / shape.raw_bytes:.2f} of the raw vectors)."
    ]
    if best.reads:
        said.append(
            f"A search reads {best.reads:.0f} times from the tier in {best.round_trips:.0f} dependent round trips, "
            f"{best.tier_read_bytes / 1024:.0f} KiB in all; {_bound(best)}."
        )
    said += [_against(best, other) for other in _best_of_other_kinds(best, others)]
    said += _left_out(best, refused, costs, target)
    if best.kind == "lists":
        said += _closure(shape)
    said.append(
        f"The data: {shape.count:,} vectors whose neighbourhoods have about {shape.local_dim:.0f} dimensions of "
        f"{shape.dim}; 1-bit codes are off by {shape.error:.0%} of the tenth neighbour's squared distance."
    )
    return said


def _bound(cost: Cost) -> str:
    if cost.limit == "reads":
        return f"the tier's {cost.tier.reads_per_s:,.0f} reads a second bound it"
    if cost.limit == "latency":
        latency_us = cost.tier.latency_s * 1e6
        return f"its latency bounds it: {latency_us:,.0f} us for each round trip, {IN_FLIGHT} searches under way"
    return f"with {cost.tier.depth:.0f} reads under way the processor bounds it, not the tier"


def _best_of_other_kinds(best: Cost, others: Sequence[Cost]) -> list[Cost]:
    """The best other plan of each other kind, and of the same kind in another tier or with other codes."""
    found: dict[str, Cost] = {}
    for other in others:
        found.setdefault(other.kind, other)
    return list(found.values())


def _against(best: Cost, other: Cost) -> str:
    faster = best.per_second / other.per_second
    if faster >= 1.05:
        speed = f"is {faster:.1f} times slower"
    elif faster <= 0.95:
        speed = f"would be {1 / faster:.1f} times faster"
    else:
        speed = "is about as fast"
    why = ""
    if other.round_trips > 2 * max(1.0, best.round_trips):
        why = f": it waits {other.round_trips:.0f} times for the tier, one after the other"
    elif other.reads > 1.5 * max(1.0, best.reads):
        why = f": it reads {other.reads:.0f} times"
    elif other.dram_bytes > 1.1 * best.dram_bytes:
        why = f", and takes {other.dram_bytes / max(1, best.dram_bytes):.1f} times the memory"
    return f"{_sentence(other)} {speed}{why}."


def _left_out(best: Cost, refused: dict[int, str], costs: Sequence[Cost], target: Target) -> list[str]:
    """The fastest plan that a limit rules out, where it is faster than the best."""
    out = [cost for cost in costs if id(cost) in refused and cost.per_second > 1.05 * best.per_second]
    if not out:
        return []
    fastest = max(out, key=lambda cost: cost.per_second)
    why = refused[id(fastest)]
    detail = {
        "memory": f"{fastest.dram_bytes / 2**20:,.1f} MiB of memory",
        "room in the tier": f"{fastest.tier_bytes / 2**20:,.1f} MiB in the tier",
        "latency": f"{fastest.latency_s * 1e6:,.0f} us",
        "searches a second": f"{fastest.per_second:,.0f} a second",
    }[why]
    return [
        f"{_sentence(fastest)} would be {fastest.per_second / best.per_second:.1f} times faster, but "
        f"needs {detail}, which the limit on {why} rules out."
    ]


def _closure(shape: Shape) -> list[str]:
    """Whether vectors are in further lists, where a sample says what that is worth."""
    if not shape.further:
        return []
    saves = f"scan {abs(1 - shape.closed):.0%} {'fewer' if shape.closed <= 1 else 'more'} codes for the same recall"
    words = f"Vectors in {1 + shape.further:.2f} lists each by their codes, stored once,"
    why = saves if shape.closes else f"would {saves}, which is not worth their memory: each is in one list"
    return [f"{words} {why}."]


def _nothing(costs: Sequence[Cost], target: Target) -> str:
    least = min(cost.dram_bytes for cost in costs)
    quickest = min(cost.latency_s for cost in costs)
    most = max(cost.per_second for cost in costs)
    return (
        f"no index reaches {target}: the smallest takes {least:,} bytes of memory, the quickest "
        f"{quickest * 1e6:,.0f} us, the fastest answers {most:,.0f} a second"
    )
