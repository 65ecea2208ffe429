"""A slot in the words of the retained record."""

from __future__ import annotations

from typing import Literal

from fairlead_agent.messages import SlotPlacement
from fairlead_agent.placement.slot import UNSERVED, Condition, Slot

State = Literal["pending", "negotiating", "awarded", "placed", "lost", "unplaceable"]


def slot_placement(slot: Slot, calling: bool, refusal: str) -> SlotPlacement:
    """Where a slot stands; ``calling``: bids for it are being collected; ``refusal``: why none ever will be."""
    state = "unplaceable" if refusal and slot.condition in UNSERVED else slot_state(slot, calling)
    serving = slot.condition not in UNSERVED
    pursuit = slot.pursuit
    node, variant = (slot.holder, slot.variant or None) if serving or pursuit is None else (None, None)
    if pursuit is not None and not serving:
        node, variant = pursuit.node, pursuit.variant
    return SlotPlacement(
        key=slot.key,
        state=state,
        node=node,
        variant=variant,
        epoch=slot.epoch,
        reason=(refusal or slot_reason(slot, state))[:2000],
        config_digest=slot.digest if serving else "",
    )


def slot_state(slot: Slot, calling: bool) -> State:
    """The one word for it."""
    confirming = slot.pursuit is not None and slot.pursuit.epoch != 0
    if slot.condition not in UNSERVED and not confirming:
        return "placed"
    if slot.pursuit is not None:
        return "awarded"
    if calling:
        return "negotiating"
    if slot.retries:
        return "unplaceable"
    return "pending" if slot.condition is Condition.EMPTY else "lost"


def slot_reason(slot: Slot, state: State) -> str:
    """One line on why it stands there."""
    if slot.pursuit is not None:
        pursuit = slot.pursuit
        return f"{pursuit.phase}: {pursuit.offer.name} ({pursuit.trigger})"
    if state == "lost":
        return f"{slot.holder} is {slot.condition}"
    return slot.call_back or slot.reason
