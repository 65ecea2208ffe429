"""What a schedule leaves of a radio link: the capacity and the delay that workloads behind it see. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: Of a packet, in bits: 1,500 bytes.
PACKET_BITS = 12_000.0
#: A link that is full carries this much still: bids over it stay finite.
LEAST_BITS_PER_S = 1e3
#: A queue's wait is told up to this: beyond it, packets are lost.
MOST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Link:
    """A directed link over the radio.

    Attributes:
        capacity_bits_per_s: what the schedule gives a user.
        free_bits_per_s: what is left of it beside the traffic that is there already.
        latency_s: one way, for one packet.
    """

    capacity_bits_per_s: float
    free_bits_per_s: float
    latency_s: float


def link(
    capacity_bits_per_s: float,
    offered_bits_per_s: float,
    slot_s: float,
    sensing_share: float,
    waiting_s: float = 0.0,
) -> Link:
    """Model a user's link.

    The delay is that of alignment to a slot (half a slot to wait and one to send, in a frame of which only
    ``1 - sensing_share`` carries data), of one packet's transmission, and of the queue: ``rho / (2 (1 - rho))``
    transmissions, as of Poisson arrivals and packets of one length (M/D/1: Pollaczek and Khinchine), or what the queue
    was measured to have, where that is more.

    Args:
        capacity_bits_per_s: of the user, averaged over the time in which the cell sends and senses.
        offered_bits_per_s: that the user's own traffic takes.
        slot_s: of the numerology.
        sensing_share: of air time, 0 to 1.
        waiting_s: that what is in the user's queue will wait, as measured; 0: nothing waits, or nothing measures it.
    """
    capacity = max(capacity_bits_per_s, LEAST_BITS_PER_S)
    packet_s = PACKET_BITS / capacity
    load = offered_bits_per_s / capacity
    wait_s = packet_s * load / (2 * (1 - load)) if load < 1 else MOST_WAIT_S
    wait_s = min(max(wait_s, waiting_s), MOST_WAIT_S)
    aligned_s = 1.5 * slot_s / max(1 - sensing_share, 1e-3)
    free = max(capacity_bits_per_s - offered_bits_per_s, LEAST_BITS_PER_S)
    return Link(capacity_bits_per_s, free, aligned_s + packet_s + wait_s)
