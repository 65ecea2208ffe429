"""Estimates, offers and bids with sensible defaults."""

from __future__ import annotations

from typing import Any

from fairlead_agent.messages import Bid, Estimate, LeaseKey, Offer, Quantiles, Refusal, Workload

GIB = 1 << 30


def estimate(latency_s: float = 0.5, *, throughput: float = 10.0, spread: float = 0.2, **changes: Any) -> Estimate:
    """An estimate of 1 GiB and one core."""
    values: dict[str, Any] = {
        "latency_s": Quantiles.around(latency_s, spread),
        "throughput_per_s": Quantiles.around(throughput, spread),
        "throughput_unit": "token",
        "memory_bytes": {"dram": GIB},
        "startup_s": Quantiles.around(1.0, 0.5),
    }
    return Estimate(**(values | changes))


def offer(variant: str = "q8", latency_s: float = 0.5, **changes: Any) -> Offer:
    """An offer; ``changes`` go to the offer where it has the field, else to the estimate."""
    own = {name: changes.pop(name) for name in list(changes) if name in Offer.model_fields}
    return Offer(variant=variant, estimate=estimate(latency_s, **changes), **own)


def refusal(variant: str, reason: str, *, needs: str = "", has: str = "") -> Offer:
    """A variant that cannot serve."""
    return Offer(variant=variant, refusal=Refusal(reason=reason, needs=needs, has=has))


def bid(node: str, *offers: Offer, slots: int = 1, **changes: Any) -> Bid:
    """A bid in negotiation ``n``."""
    return Bid(
        negotiation="n", node=node, incarnation=1, offers=offers, slots=slots if offers else 0, expires_s=5.0, **changes
    )


def workload(name: str = "chat", **changes: Any) -> Workload:
    """A workload of plugin ``llm``."""
    return Workload(name=name, plugin="llm", **changes)


def key(replica: int = 0, name: str = "chat") -> LeaseKey:
    """A slot."""
    return LeaseKey(site="lab", workload=name, replica=replica)
