"""The slot's layer: resource blocks, users and power by the dual; which looks are served in this slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.granularity.cell import LATE_SLOTS, CellSetting, Group
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed
from fairlead_isac.physics.numerology import SYMBOLS_OF_A_SLOT
from fairlead_isac.solvers.allocation import Allocation, allocate

F64 = NDArray[np.float64]

#: Of a slot's 14 symbols: the others carry control and pilots whatever is sensed.
MOST_LOOKS = 12
#: Memory of the average worth of a slot.
WORTH_SLOTS = 400

Scheduler = Callable[[F64, F64, float], Allocation]


def best_users(gains: F64, weights: F64, power_watts: float) -> Allocation:
    """Each block to the user to whom it is worth most, with even power: proportional fairness in closed form.

    Water filling gains little over even power where blocks are good (Yu and Cioffi 2006); `allocate` is the optimum.

    Args:
        gains: float64 [users, blocks], SNR for a watt on the block.
        weights: float64 [users].
        power_watts: of all blocks.
    """
    users, blocks = gains.shape
    even = power_watts / blocks
    bits = np.log2(1.0 + even * gains)
    chosen = np.argmax(weights[:, None] * bits, axis=0) if users else np.full(blocks, -1)
    shares = np.zeros((users, blocks))
    if users:
        shares[chosen, np.arange(blocks)] = 1.0
    rate = (shares * bits).sum(axis=1)
    # Nothing is proved about the optimum: the gap is infinite.
    return Allocation(shares * even, shares, chosen, rate, 0.0, 0.0, (0.0, 0.0), np.inf, 0, 0, None)


@dataclass(frozen=True, slots=True, eq=False)
class SlotSetting:
    """What a slot carries.

    Attributes:
        looks: symbols towards each target.
        power: float64 [users, blocks] in W during symbols of data, averaged over a shared block's time.
        shares: float64 [users, blocks], of each block's time; columns sum to 1 or, without users, to 0.
        value: worth of a slot of data against the recent average.
        data_symbols: of the 14.
        duals: what a watt more would add to the weighted rate, and what sensing takes.
    """

    looks: Mapping[str, int]
    power: F64
    shares: F64
    value: float
    data_symbols: int
    duals: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Pending:
    """A planned group and how many of its looks are left."""

    name: str
    group: Group
    left: int


class SlotLayer:
    """Serves groups of looks when data is worth little, at the latest when they are due; the rest of the slot is data.

    Args:
        slot_s: its period.
        scheduler: gains [users, blocks], weights [users], power in W -> `Allocation`.
    """

    name = "slot"

    def __init__(self, slot_s: float, scheduler: Scheduler = allocate) -> None:
        self.period_s, self._scheduler = slot_s, scheduler
        self._worth: float | None = None
        self._pending: list[Pending] = []
        self._planned: CellSetting | None = None

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Allocate data, then take the looks; SolverFailed without a cell's setting or with channels that are none."""
        if not isinstance(above, CellSetting):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: CellSetting")
        data, value = self.data(observation, above.budget.power_watts, above.rate_prices)
        looks = self._looks(t, above, value)
        return self.answer(data, value, looks)

    def default(self, observation: Observation) -> Answer:
        """All blocks in turn to all users, even power."""
        users, blocks = observation.gains.shape
        shares = np.full((users, blocks), 1.0 / max(users, 1))
        power = shares * observation.cell.power_watts / blocks
        return Answer(SlotSetting({}, power, shares, 1.0, SYMBOLS_OF_A_SLOT), "even shares until there is a decision")

    def data(
        self, observation: Observation, power_watts: float, prices: Mapping[str, float]
    ) -> tuple[Allocation, float]:
        """Proportional fairness, raised by the prices of least rates; the allocation, and its worth now."""
        if not np.isfinite(observation.gains).all():
            raise SolverFailed("gains: one is not finite; accepted: finite numbers")
        weights = self._weights(observation, prices)
        found = self._scheduler(observation.gains, weights, power_watts)
        worth = float(weights @ found.rate_bits) if len(weights) else 0.0
        self._worth = worth if self._worth is None else self._worth + (worth - self._worth) / WORTH_SLOTS
        return found, worth / self._worth if self._worth > 0.0 else 1.0

    def answer(self, data: Allocation, value: float, looks: Mapping[str, int]) -> Answer:
        """Put the slot together."""
        spent = sum(looks.values())
        users = data.rate_bits.shape[0]
        setting = SlotSetting(
            looks, data.power[:users], data.shares[:users], value, SYMBOLS_OF_A_SLOT - spent, data.duals
        )
        said = ", ".join(f"{count} to {name}" for name, count in looks.items()) or "none"
        reason = f"{SYMBOLS_OF_A_SLOT - spent} symbols of data; looks: {said}"
        if data.fallback is not None:
            reason += f"; {data.fallback}"
        return Answer(setting, reason, {"bits_per_watt": data.duals[0]})

    @staticmethod
    def _weights(observation: Observation, prices: Mapping[str, float]) -> F64:
        average = np.maximum(
            observation.average_rates, 1e-3 * max(float(observation.average_rates.max(initial=0)), 1.0)
        )
        fair = np.array([user.weight * (1.0 + prices.get(user.name, 0.0)) for user in observation.users])
        weights = fair / average
        return weights / weights.mean() if len(weights) else weights

    def _looks(self, t: float, above: CellSetting, value: float) -> dict[str, int]:
        """Groups that are due, those that end first before the others, as far as the slot reaches."""
        if above is not self._planned:
            self._plan(t, above)
        room, looks = MOST_LOOKS, dict[str, int]()
        for pending in self._open(t):
            slots = round((pending.group.end_s - t) / self.period_s)
            urgent = slots <= 1 + (pending.left - 1) // MOST_LOOKS
            if room and (urgent or value <= above.thresholds[min(slots, len(above.thresholds)) - 1]):
                taken = min(room, pending.left)
                looks[pending.name] = looks.get(pending.name, 0) + taken
                pending.left, room = pending.left - taken, room - taken
        return looks

    def _plan(self, t: float, above: CellSetting) -> None:
        """Take a new plan; groups that are in the old one, too, are served as far as they were."""
        before = {(each.name, each.group.begin_s): each for each in self._pending}
        known = [(name, group) for name, groups in above.plans.items() for group in groups]
        self._pending = [
            before.get((name, group.begin_s)) or Pending(name, group, group.symbols) for name, group in known
        ]
        self._pending.sort(key=lambda each: each.group.begin_s)
        self._planned = above

    def _open(self, t: float) -> list[Pending]:
        """Groups that have begun, have not ended long ago and have looks left."""
        late, found = t - LATE_SLOTS * self.period_s, []
        for pending in self._pending:
            if pending.group.begin_s > t + 1e-9:
                break
            if pending.left and pending.group.end_s > late:
                found.append(pending)
        return sorted(found, key=lambda each: each.group.end_s) if len(found) > 1 else found
