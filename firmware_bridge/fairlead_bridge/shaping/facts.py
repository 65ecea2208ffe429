"""Shaped links in the words of the resource graph."""

from __future__ import annotations

from fairlead_bridge.reading import Missing, is_known
from fairlead_bridge.shaping.objects import class_handles
from fairlead_bridge.shaping.plan import ClassTree, ShapingPlan
from fairlead_bridge.shaping.statistics import Passed, Queues, handle_text, passed


def link_facts(before: Queues, after: Queues, plan: ShapingPlan) -> dict[str, float]:
    """A shaped link in the words of the resource graph's link edges; what is not known is left out.

    ``bandwidth_bits_per_s`` is what the plan lets out, ``latency_s`` how long what waits now will wait at that rate
    (what the queue adds to the link's own delay), ``loss`` the share that the queue dropped between the readings,
    ``throughput_bits_per_s`` what was sent.
    """
    facts: dict[str, float] = {}
    if plan.egress is not None:
        facts["bandwidth_bits_per_s"] = float(plan.egress.rate_bits_per_s)
    traffic = passed(before, after, plan.link)
    if is_known(traffic):
        facts["loss"] = traffic.loss
        facts["throughput_bits_per_s"] = traffic.bits_per_s
        if plan.egress is not None:
            facts["latency_s"] = traffic.waiting_bytes * 8 / plan.egress.rate_bits_per_s
    return facts


def class_facts(before: Queues, after: Queues, plan: ShapingPlan) -> dict[str, dict[str, float]]:
    """Each class of a plan's egress as a link of its own, by name: as :func:`link_facts`, at the class's ceiling."""
    if not isinstance(plan.egress, ClassTree):
        return {}
    ceilings = {item.name: item.ceil_bits_per_s or plan.egress.rate_bits_per_s for item in plan.egress.classes}
    return {
        name: {
            "bandwidth_bits_per_s": float(ceilings[name]),
            "loss": found.loss,
            "throughput_bits_per_s": found.bits_per_s,
            "latency_s": found.waiting_bytes * 8 / ceilings[name],
        }
        for name, found in class_traffic(before, after, plan).items()
        if is_known(found)
    }


def class_traffic(before: Queues, after: Queues, plan: ShapingPlan) -> dict[str, Passed | Missing]:
    """What passed each class of a plan's egress, by the class's name."""
    if not isinstance(plan.egress, ClassTree):
        return {}
    handles = class_handles(plan.egress)
    return {name: passed(before, after, plan.link, handle_text(handle)) for name, handle in handles.items()}
