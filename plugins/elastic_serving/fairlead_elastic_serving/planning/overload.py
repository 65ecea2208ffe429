"""When an instance has too little memory for keys and values, and when it could give the rest back.

Overload is KV of the running requests + demand of the queue's head > capacity; what has to be freed is what all queued
requests need beyond what is free (KunServe, "overload"). In practice the state is polled, so a `Watch` also asks for a
drop at 95 % of the pages held while as many wait as are free, whoever is next, and where half of the pages are held and
what is coming, poll after poll, exceeds the rest: dropping takes a moment, and nobody should wait for it. It asks for
restoring only when usage is at half of what there is without dropping, falls, nobody waits, and nothing is coming that
would not fit then, nor has been for a while: a burst comes in waves, and whoever comes with the next one would wait for
layers to be dropped anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

DROP_AT = 0.95
RESTORE_AT = 0.5
FORESEEN_FROM = 0.5
"""Usage below which a forecast is no reason to drop: what it foresees is far off."""
FORESEEN_POLLS = 2


@dataclass(frozen=True, slots=True)
class Demand:
    """Pages at one time.

    Attributes:
        held: pages of running requests.
        capacity: pages for keys and values now, borrowed ones included.
        own_capacity: the same if no layer were dropped.
        queued: pages that each waiting request needs, in order.
        coming: pages that are expected to be held beyond all of these in a moment.
    """

    held: int
    capacity: int
    own_capacity: int
    queued: Sequence[int] = ()
    coming: int = 0

    def __post_init__(self) -> None:
        negative = min((*self.queued, self.coming)) < 0
        if not 0 <= self.held <= self.capacity or self.own_capacity > self.capacity or negative:
            raise ValueError(f"{self}: accepted: 0 <= held <= capacity, own_capacity <= capacity, no negative demand")

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return self.capacity - self.held

    @property
    def usage(self) -> float:
        """Share of the pages that is held, 0 to 1."""
        return self.held / self.capacity if self.capacity else 1.0


def overloaded(demand: Demand) -> bool:
    """Return whether the queue's head cannot start: held + its demand > capacity."""
    return bool(demand.queued) and demand.held + demand.queued[0] > demand.capacity


def required(demand: Demand) -> int:
    """Return R: how many pages are missing for all queued requests to run beside those that do, and those that come."""
    return max(0, sum(demand.queued) + demand.coming - demand.free)


def _foreseen(demand: Demand) -> bool:
    """Whether what is coming will find no room, of an instance that is not all but empty."""
    return demand.usage >= FORESEEN_FROM and demand.held + sum(demand.queued) + demand.coming > demand.capacity


class Wish(Enum):
    """What an instance asks its group for."""

    NOTHING = "nothing"
    DROP = "drop"
    RESTORE = "restore"


class Watch:
    """Turns polled demands to wishes.

    Args:
        drop_at: usage from which on waiting requests are a reason to drop even if the next one has room, 0 to 1.
        restore_at: usage of the capacity without dropping, below which layers may come back; below drop_at.
        calm_polls: so many polls in a row must have shown what fits without dropping.
    """

    def __init__(self, drop_at: float = DROP_AT, restore_at: float = RESTORE_AT, calm_polls: int = 1) -> None:
        if not 0 < restore_at < drop_at <= 1:
            raise ValueError(f"drop_at {drop_at}, restore_at {restore_at}: accepted: 0 < restore_at < drop_at <= 1")
        self._drop_at = drop_at
        self._restore_at = restore_at
        self._calm_polls, self._calm = calm_polls, 0
        self._held_before: int | None = None
        self._foreseen = 0

    def see(self, demand: Demand) -> Wish:
        """Take one poll and return what it calls for."""
        before, self._held_before = self._held_before, demand.held
        waiting = sum(demand.queued)
        self._foreseen = self._foreseen + 1 if _foreseen(demand) else 0
        fits = demand.held + waiting + demand.coming <= demand.own_capacity
        self._calm = self._calm + 1 if fits else 0
        if overloaded(demand) or self._foreseen >= FORESEEN_POLLS:
            return Wish.DROP
        if waiting and waiting >= demand.free and demand.usage >= self._drop_at:
            return Wish.DROP
        falling = before is not None and demand.held <= before
        low = demand.held <= self._restore_at * demand.own_capacity
        calm = self._calm >= self._calm_polls
        if demand.capacity > demand.own_capacity and low and falling and calm and not waiting:
            return Wish.RESTORE
        return Wish.NOTHING
