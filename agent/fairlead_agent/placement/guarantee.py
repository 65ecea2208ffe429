"""Which guarantees a workload may ask for, and which of them this version keeps."""

from __future__ import annotations

from fairlead_agent.messages import PlacementPolicy

LEGAL_PAIRS = (("at-most-once", "stop"), ("available", "stop"), ("available", "keep"))


class GuaranteeError(ValueError):
    """A workload asks for a guarantee that cannot be kept; the text names the field, the value and what is legal."""


def refusal(policy: PlacementPolicy) -> str:
    """Why a policy cannot be kept; empty where it can."""
    try:
        check(policy)
    except GuaranteeError as error:
        return str(error)
    return ""


def check(policy: PlacementPolicy) -> None:
    """Accept what can be kept.

    Raises:
        GuaranteeError: an illegal pair, or a guarantee whose parts are missing.
    """
    pair = (policy.guarantee, policy.on_partition)
    if pair not in LEGAL_PAIRS:
        legal = ", ".join(f"{guarantee} + {action}" for guarantee, action in LEGAL_PAIRS)
        raise GuaranteeError(
            f"placement.guarantee {pair[0]!r} with placement.on_partition {pair[1]!r} is not accepted: an instance "
            f"that keeps running while it is cut off may be one of two. Legal pairs: {legal}"
        )
    if policy.guarantee == "available":
        raise GuaranteeError(
            "placement.guarantee 'available' is not served by this version: it needs epochs delegated to the site and "
            "a reconciliation when the partition heals (the higher epoch wins, the other drains); 'at-most-once' is "
            "accepted"
        )
