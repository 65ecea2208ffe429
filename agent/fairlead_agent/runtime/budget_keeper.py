"""Who gives memory back when the device runs short, and who gets it again: a pure policy.

An instance may use its limit. When the device has less to give than all limits together (another program took memory,
or the profile's budget was cut), instances shrink towards the least that they serve with, those first for which a byte
less costs least. When there is room again they grow back towards what they were promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")

#: Limits move only by more than this: every move asks a plugin to rearrange its memory.
STEP_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Share(Generic[K]):
    """What the policy must know of one instance; bytes of main memory."""

    name: K
    limit_bytes: int
    minimum_bytes: int
    promised_bytes: int
    marginal_cost: float = 0.0
    """Predicted relative loss of throughput for the next MiB taken away, by the plugin's own word."""


def targets(shares: Sequence[Share[K]], capacity_bytes: int) -> dict[K, int]:
    """The limits that fit into ``capacity_bytes``, for those instances whose limit should move.

    Never below an instance's minimum: where even the minima do not fit, everyone is at the minimum and the node's free
    memory is what is reported as missing.
    """
    wanted = {share.name: share.promised_bytes for share in shares}
    excess = sum(wanted.values()) - capacity_bytes
    for share in sorted(shares, key=lambda share: (share.marginal_cost, -share.limit_bytes)):
        if excess <= 0:
            break
        floor = min(share.minimum_bytes, share.promised_bytes)
        taken = min(excess, wanted[share.name] - floor)
        wanted[share.name] -= taken
        excess -= taken
    return {
        share.name: wanted[share.name] for share in shares if abs(wanted[share.name] - share.limit_bytes) >= STEP_BYTES
    }
