"""One granularity alone: what a hierarchy is measured against."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from fairlead_isac.granularity.band import Service, service_of
from fairlead_isac.granularity.cell import CellSetting
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed, TrackedTarget
from fairlead_isac.granularity.looks import symbol_snr
from fairlead_isac.granularity.slot import MOST_LOOKS, Scheduler, SlotLayer
from fairlead_isac.solvers.allocation import Allocation, allocate


@dataclass(slots=True)
class Interval:
    """What a slot's layer remembers of a target's refresh interval."""

    number: int
    service: Service
    wanted: bool = True
    energy: float = 0.0
    first_s: float = math.nan
    last_s: float = math.nan

    def add(self, t: float, energy: float) -> None:
        """Note looks."""
        self.energy += energy
        self.first_s = t if math.isnan(self.first_s) else self.first_s
        self.last_s = t


class MyopicSlotLayer(SlotLayer):
    """Everything in the slot: a look is sent if what it adds in this slot is worth more than the data it replaces.

    What looks add is the growth of the needs that are met so far: the share of the needed energy, and the share of the
    needed extent, half each; all needs met are worth ``bits_per_refresh``. No slot thinks of later ones.

    Args:
        slot_s: the period.
        bits_per_refresh: worth of an interval whose needs are all met.
        most_sensing: cap on a slot's share of looks.
        scheduler: as for `SlotLayer`.
    """

    def __init__(
        self, slot_s: float, bits_per_refresh: float, most_sensing: float = 0.5, scheduler: Scheduler = allocate
    ) -> None:
        super().__init__(slot_s, scheduler)
        self.bits_per_refresh = bits_per_refresh
        self.room = max(1, min(MOST_LOOKS, round(14 * most_sensing)))
        self._intervals: dict[str, Interval] = {}

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Allocate data, weigh looks against it."""
        data, value = self.data(observation, observation.cell.power_watts, {})
        bits = self._symbol_bits(data, observation)
        looks: dict[str, int] = {}
        room = self.room
        for tracked in sorted(observation.targets, key=lambda each: each.target.range_m):
            count = min(room, self._worthwhile(t, tracked, observation, bits))
            if count:
                self._note(t, tracked, observation, count)
                looks[tracked.target.name], room = count, room - count
        return self.answer(data, value, looks)

    @staticmethod
    def _symbol_bits(data: Allocation, observation: Observation) -> float:
        """Bits that a symbol of data carries in this slot."""
        numerology = observation.cell.numerology
        block_hz = numerology.bandwidth_hz / observation.gains.shape[1]
        return float(data.rate_bits.sum()) * block_hz * numerology.symbol_s

    def _interval(self, t: float, tracked: TrackedTarget, observation: Observation, bits: float) -> Interval:
        name = tracked.target.name
        found = self._intervals.get(name)
        if found is None or math.floor(t / found.service.needs.refresh_s + 1e-6) != found.number:
            service = service_of(tracked, observation)
            number = math.floor(t / service.needs.refresh_s + 1e-6)
            found = self._intervals[name] = Interval(number, service)
            found.wanted = service.symbols * bits <= self.bits_per_refresh * tracked.target.weight
        return found

    def _note(self, t: float, tracked: TrackedTarget, observation: Observation, count: int) -> None:
        energy = count * symbol_snr(tracked.target, observation.cell)
        self._intervals[tracked.target.name].add(t, energy)

    def _worthwhile(self, t: float, tracked: TrackedTarget, observation: Observation, bits: float) -> int:
        """As many looks as are each worth their data."""
        interval = self._interval(t, tracked, observation, bits)
        needs, worth = interval.service.needs, self.bits_per_refresh * tracked.target.weight / 2.0
        one = symbol_snr(tracked.target, observation.cell)
        missing = max(0.0, needs.energy - interval.energy)
        count = math.ceil(missing / one) if worth * one / needs.energy >= bits else 0
        if count or math.isnan(interval.last_s) or not needs.extent_s:
            return count
        reached = min(needs.extent_s, t - interval.first_s) - (interval.last_s - interval.first_s)
        return 1 if worth * reached / needs.extent_s >= bits else 0


class PacedSlotLayer(MyopicSlotLayer):
    """Everything in the slot, but evenly: whether a target is sensed is decided as its interval begins, from the data
    of that slot, and then looks keep pace with the time that has passed and with the largest gap.
    """

    def _worthwhile(self, t: float, tracked: TrackedTarget, observation: Observation, bits: float) -> int:
        interval = self._interval(t, tracked, observation, bits)
        if not interval.wanted:
            return 0
        needs = interval.service.needs
        passed = (t - interval.number * needs.refresh_s) / max(needs.refresh_s - 2.0 * self.period_s, self.period_s)
        due = min(1.0, passed) * needs.energy - interval.energy
        count = max(0, math.ceil(due / symbol_snr(tracked.target, observation.cell) - 1e-9))
        if count:
            return count
        begin = math.isnan(interval.last_s)
        return int(begin or (needs.extent_s > 0.0 and t - interval.last_s >= needs.largest_gap_s - self.period_s))


class FrozenSlotLayer(SlotLayer):
    """Everything at the coarse period: data keeps the allocation that was made from average channels as the period
    began, and each group of looks is sent as soon as it begins.
    """

    def __init__(self, slot_s: float, scheduler: Scheduler = allocate) -> None:
        super().__init__(slot_s, scheduler)
        self._frozen: tuple[CellSetting, Allocation] | None = None

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Allocate when the cell's setting is a new one; else send what was allocated."""
        if not isinstance(above, CellSetting):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: CellSetting")
        if self._frozen is None or self._frozen[0] is not above:
            average = replace(observation, gains=observation.mean_gains)
            self._frozen = (above, self.data(average, above.budget.power_watts, above.rate_prices)[0])
        return self.answer(self._frozen[1], 0.0, self._looks(t, above, 0.0))
