"""Say why a workload runs where it runs: the lines behind ``fairlead explain``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fairlead_agent.messages import BidOutcome, PlacementRecord, SlotPlacement
from fairlead_agent.placement.score import TERMS

Topic = Literal["workload", "replica", "won", "lost", "refused", "declined", "no-answer", "change"]
ORDER: tuple[Topic, ...] = ("won", "lost", "refused", "declined", "no-answer")


@dataclass(frozen=True, slots=True)
class Line:
    """One statement: what it is about, who it is about, and the words."""

    topic: Topic
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


def explain(record: PlacementRecord, previous: PlacementRecord | None = None) -> tuple[Line, ...]:
    """All that is known of a decision.

    Args:
        record: the retained record of the workload's steward.
        previous: an earlier one, to say what has changed since; None: not known.

    Returns:
        In this order: the workload, its replicas, its bids (those that won first, then by score), and the changes.
    """
    bids = sorted(record.bids, key=_bid_order)
    return (
        _headline(record),
        *(_slot_line(slot) for slot in record.slots),
        *(Line(bid.outcome, _name(bid.node, bid.variant), _bid_text(bid)) for bid in bids),
        *(changes(previous, record) if previous is not None else ()),
    )


def changes(before: PlacementRecord, after: PlacementRecord) -> tuple[Line, ...]:
    """What is different between two records of a workload."""
    lines: list[Line] = []
    if after.generation != before.generation:
        lines.append(Line("change", after.workload, f"generation {before.generation} became {after.generation}"))
    if after.steward != before.steward:
        lines.append(Line("change", after.workload, f"the steward {before.steward} was followed by {after.steward}"))
    old = {slot.key.replica: slot for slot in before.slots}
    new = {slot.key.replica: slot for slot in after.slots}
    for replica in sorted(old.keys() | new.keys()):
        text = _slot_change(old.get(replica), new.get(replica))
        if text:
            lines.append(Line("change", f"replica {replica}", text))
    return (*lines, *_bid_changes(before.bids, after.bids))


def text(lines: Iterable[Line]) -> str:
    """The lines as a terminal without colours shows them."""
    return "\n".join(f"{'' if line.topic == 'workload' else '  '}{line}" for line in lines)


def _headline(record: PlacementRecord) -> Line:
    if record.deleted:
        return Line("workload", record.workload, f"deleted at generation {record.generation}")
    placed = sum(slot.state == "placed" for slot in record.slots)
    why = f"; last decision: {record.trigger}" if record.trigger else ""
    return Line(
        "workload",
        record.workload,
        f"{placed} of {len(record.slots)} replicas placed at generation {record.generation} by steward "
        f"{record.steward}{why}",
    )


def _slot_line(slot: SlotPlacement) -> Line:
    where = f" on {_name(slot.node or '', slot.variant or '')}" if slot.node else ""
    epoch = f", epoch {slot.epoch}" if slot.epoch else ""
    why = f" ({slot.reason})" if slot.reason else ""
    return Line("replica", f"replica {slot.key.replica}", f"{slot.state}{where}{epoch}{why}")


def _bid_text(bid: BidOutcome) -> str:
    words = {"won": "won", "lost": "lost", "refused": "refused", "declined": "declined", "no-answer": "no answer"}
    simulated = ", on simulated hardware" if bid.simulated else ""
    terms = _terms(bid)
    return f"{words[bid.outcome]}{simulated}: {bid.reason}{f' [{terms}]' if terms else ''}"


def _terms(bid: BidOutcome) -> str:
    known = [name for name in (*TERMS, "objectives") if name in bid.terms]
    return ", ".join(f"{name} {bid.terms[name]:.2f}" for name in known if bid.terms[name] >= 0.005)


def _bid_order(bid: BidOutcome) -> tuple[int, float, str, str]:
    score = bid.score if bid.score is not None else float("inf")
    return ORDER.index(bid.outcome), score, bid.node, bid.variant


def _slot_change(old: SlotPlacement | None, new: SlotPlacement | None) -> str:
    if new is None:
        return "is no longer wanted"
    if old is None:
        return f"is new, {new.state}"
    if new.node != old.node and old.node and new.node:
        return f"moved from {_name(old.node, old.variant or '')} to {_name(new.node, new.variant or '')}"
    if (new.node, new.variant) != (old.node, old.variant):
        was = _name(old.node or "nowhere", old.variant or "")
        return f"was on {was}, is on {_name(new.node or 'nowhere', new.variant or '')}"
    if new.state != old.state:
        return f"was {old.state}, is {new.state}"
    return f"epoch {old.epoch} became {new.epoch}" if new.epoch != old.epoch else ""


def _bid_changes(before: Iterable[BidOutcome], after: Iterable[BidOutcome]) -> list[Line]:
    old = {(bid.node, bid.variant): bid for bid in before}
    lines: list[Line] = []
    for bid in after:
        was = old.get((bid.node, bid.variant))
        if was is None or was.score is None or bid.score is None or was.score <= 0:
            continue
        share = bid.score / was.score - 1
        if abs(share) >= 0.05:
            direction = "worse" if share > 0 else "better"
            words = f"score {was.score:.2f} became {bid.score:.2f} ({abs(share):.0%} {direction})"
            lines.append(Line("change", _name(bid.node, bid.variant), words))
    return lines


def _name(node: str, variant: str) -> str:
    return f"{node}/{variant}" if variant and variant != "-" else node
