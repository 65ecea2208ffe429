"""What the way between clients and this node adds to a plugin's estimate. Pure."""

from __future__ import annotations

import math

from fairlead_agent.messages import Estimate, Quantiles
from fairlead_agent.plugin.facts import LinkFacts, NodeFacts

#: The peer of a node's link facts that stands for the way to clients.
GATEWAY = "gateway"

#: Relative spread of what a link adds: bandwidth and delay change from one moment to the next.
SPREAD = 0.25

#: Of a TCP segment, in bits: 1,460 bytes.
SEGMENT_BITS = 11_680.0


def over_access_link(estimate: Estimate, facts: NodeFacts) -> Estimate:
    """The estimate as clients will see it.

    A plugin predicts what happens on the node. A request and its answer also cross the access link: one delay each way,
    and ``exchange_bytes`` at its bandwidth. What must be fetched before the start crosses it too.
    """
    link = next((link for link in facts.links if link.peer == GATEWAY), None)
    if link is None:
        return estimate
    exchange_s = 2 * link.latency_s + transfer_s(estimate.exchange_bytes, link)
    fetch_s = transfer_s(estimate.transfer_bytes, link)
    rate = f"{link.bandwidth_bits_per_s / 1e6:g} Mbit/s, {link.latency_s * 1e3:g} ms each way"
    if link.loss:
        rate += f", {link.loss:.2g} of all packets lost: {goodput_bits_per_s(link) / 1e6:.3g} Mbit/s for one stream"
    reason = f"{estimate.reason}; {exchange_s * 1e3:.3g} ms over the link to clients ({rate})".removeprefix("; ")
    return estimate.model_copy(
        update={
            "latency_s": added(estimate.latency_s, exchange_s),
            "startup_s": added(estimate.startup_s, fetch_s),
            "reason": reason[:2000],
        }
    )


def transfer_s(size_bytes: int, link: LinkFacts) -> float:
    """Seconds that so many bytes take on a link, its delay not counted."""
    return size_bytes * 8 / max(goodput_bits_per_s(link), 1.0)


def goodput_bits_per_s(link: LinkFacts) -> float:
    """What one TCP stream carries over a link that loses packets: the link's bandwidth, less what is sent again, and at
    most ``MSS / RTT * sqrt(3 / (2 loss))`` (Mathis, Semke, Mahdavi and Ott 1997, equation 3 without delayed ACKs).
    """
    if not link.loss:
        return link.bandwidth_bits_per_s
    arriving = link.bandwidth_bits_per_s * (1 - link.loss)
    if link.latency_s <= 0:
        return arriving
    return min(arriving, SEGMENT_BITS / (2 * link.latency_s) * math.sqrt(1.5 / link.loss))


def added(quantiles: Quantiles, seconds: float) -> Quantiles:
    """Quantiles of a time to which the link adds ``seconds``, give or take."""
    extra = Quantiles.around(seconds, SPREAD)
    return Quantiles(p10=quantiles.p10 + extra.p10, p50=quantiles.p50 + extra.p50, p90=quantiles.p90 + extra.p90)
