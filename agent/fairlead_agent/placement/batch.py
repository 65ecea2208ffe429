"""Calls that are out at the same time share the room of the nodes that bid for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_agent.messages import Bid
from fairlead_agent.placement.resources import Resources


@dataclass(slots=True)
class Batch:
    """What each node has free for the calls of one batch, less what was awarded.

    Without it every call would need a reservation of its own, and a node could bid for few calls at a time although
    it will win even fewer. A node still refuses an award that does not fit: this only makes that rare.
    """

    id: str
    opened_at: float
    room: dict[str, Resources] = field(default_factory=dict[str, Resources])
    awarded: dict[str, Resources] = field(default_factory=dict[str, Resources])

    def heard(self, bid: Bid) -> None:
        """Take a node's room from its first bid, which no award of the batch has narrowed yet."""
        if bid.slots and bid.room_cores is not None:
            self.room.setdefault(bid.node, Resources(bid.room_bytes, bid.room_cores))

    def take(self, node: str, needs: Resources) -> None:
        """Something was awarded."""
        self.awarded[node] = self.awarded.get(node, Resources()).plus(needs)

    def give_back(self, node: str, needs: Resources) -> None:
        """It was not taken in the end."""
        self.awarded[node] = self.awarded.get(node, Resources()).minus(needs)

    def left(self) -> Mapping[str, Resources]:
        """By node, what may still be awarded."""
        return {node: room.minus(self.awarded.get(node, Resources())) for node, room in self.room.items()}
