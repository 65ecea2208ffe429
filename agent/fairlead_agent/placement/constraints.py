"""Which nodes and variants may serve a workload at all, in words where they may not."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead_agent.messages import Offer, Workload


def node_refusal(workload: Workload, node: str, labels: Mapping[str, str]) -> str:
    """Why the workload's constraints rule a node out; empty where they do not."""
    constraints = workload.constraints
    if constraints.nodes and node not in constraints.nodes:
        return f"the workload is limited to {', '.join(constraints.nodes)}"
    if node in constraints.exclude_nodes:
        return "the workload excludes this node"
    for label, value in sorted(constraints.labels.items()):
        if labels.get(label) != value:
            return f"the workload needs label {label}={value}, the node has {label}={labels.get(label, '(none)')}"
    return ""


def offer_refusal(workload: Workload, offer: Offer) -> str:
    """Why an offer may not win whatever its score; empty where it may."""
    if workload.constraints.variants and offer.variant not in workload.constraints.variants:
        return f"the workload is limited to the variants {', '.join(workload.constraints.variants)}"
    if offer.refusal is not None:
        needs = f" (needs {offer.refusal.needs}" if offer.refusal.needs else ""
        has = f", has {offer.refusal.has}" if offer.refusal.has and needs else ""
        return f"{offer.refusal.reason}{needs}{has}{')' if needs else ''}"
    if offer.estimate is None:
        return "no estimate was given"
    if offer.simulated and offer.estimate.needs_real:
        kinds = ", ".join(kind.upper() if len(kind) <= 3 else kind for kind in offer.estimate.needs_real)
        return f"simulated {kinds}: this variant needs the real thing"
    return ""
