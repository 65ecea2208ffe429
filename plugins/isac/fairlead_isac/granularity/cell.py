"""The cell's layer (10 ms to 1 s): when targets are looked at, the duplex mode, and prices of users' least rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.band import BandSetting, Service
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed
from fairlead_isac.scenario import Budget, Duplex

#: Self-interference cancellation at which full duplex carries as much as half duplex: measured for 3.5 GHz, 100 MHz,
#: 30 and 20 dBm, 16 + 16 antennas, white residual; and how far beyond it the mode changes.
BREAK_EVEN_DB, HYSTERESIS_DB = 96.0, 2.0
#: Step of the dual prices of least rates.
PRICE_STEP = 0.5
#: Looks carry a little more energy than needed: targets move within an interval.
MARGIN = 1.05
#: A group that found no room is still served so many slots after its end.
LATE_SLOTS = 4
#: More groups of an interval make no more freedom that is worth having.
MOST_GROUPS = 64


@dataclass(frozen=True, slots=True)
class Group:
    """Looks at one target that belong together: some symbols at any time in [begin, end)."""

    begin_s: float
    end_s: float
    symbols: int


@dataclass(frozen=True, slots=True, eq=False)
class CellSetting:
    """What the cell's layer gives the slot's.

    Attributes:
        budget: power, sensing's bounds, duplex mode, prices.
        plans: groups of looks in order of time, by target; they begin in this period or run on from the one before.
        thresholds: float [slots]: with so many slots left (1, 2, ...) a group is served at once if a slot's data is
            worth less than this.
        rate_prices: by user, of its least rate, in units of proportional fairness.
        beams: angle towards each target in rad.
    """

    budget: Budget
    plans: Mapping[str, tuple[Group, ...]]
    thresholds: np.ndarray
    rate_prices: Mapping[str, float]
    beams: Mapping[str, float]


class CellLayer:
    """Plans looks over each refresh interval, so that they add up to what the interval needs at the least data lost.

    Args:
        period_s: 0.01 to 1.
        break_even_db: of self-interference cancellation.
    """

    name = "cell"

    def __init__(self, period_s: float = 0.05, break_even_db: float = BREAK_EVEN_DB) -> None:
        if not 0.0 < period_s <= 1.0:
            raise IsacError(f"period_s {period_s!r}; accepted: above 0, at most 1 s")
        self.period_s, self.break_even_db = period_s, break_even_db
        self._plans: dict[str, tuple[float, tuple[Group, ...]]] = {}
        self._duplex: Duplex = "half"
        self._prices: dict[str, float] = {}
        self._values: list[float] = []

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Plan the intervals that begin in this period, step the prices; SolverFailed without a band's setting."""
        if not isinstance(above, BandSetting):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: BandSetting")
        self._plan(t, above, observation.cell.numerology.slot_s)
        self._switch(observation.cancellation_db)
        self._price(observation)
        share = sum(service.air_share for service in above.served.values())
        budget = Budget(
            above.power_watts,
            (0.0, max(above.most_sensing, min(1.0, share))),
            above.resource_blocks,
            self._duplex,
            1.0,
            above.bits_per_refresh / max(above.air_price, 1.0),
        )
        beams = {each.target.name: each.target.angle_rad for each in observation.targets}
        plans = {name: groups for name, (_, groups) in self._plans.items()}
        setting = CellSetting(budget, plans, stopping(observation.recent_values), dict(self._prices), beams)
        return Answer(
            setting, self._reason(setting), {f"rate of {user}": price for user, price in self._prices.items()}
        )

    def default(self, observation: Observation) -> Answer:
        """No looks, half duplex."""
        budget = Budget(observation.cell.power_watts, (0.0, 0.0), observation.gains.shape[1])
        return Answer(CellSetting(budget, {}, np.zeros(0), {}, {}), "data alone until there is a decision")

    def _plan(self, t: float, band: BandSetting, slot_s: float) -> None:
        """Keep plans whose interval still runs; make one for each interval that begins within the period."""
        for name, service in band.served.items():
            refresh = service.needs.refresh_s
            running = math.floor(t / refresh + 1e-6)
            first = running if math.isclose(running * refresh, t, abs_tol=1e-6) else running + 1
            kept = [group for group in self._groups(name) if group.end_s + LATE_SLOTS * slot_s > t]
            begun = self._plans[name][0] if name in self._plans else -math.inf
            until = begun
            while first * refresh < t + self.period_s - 1e-9:
                if first * refresh > begun + 1e-9:
                    kept.extend(groups_of(first * refresh, service, slot_s))
                    until = first * refresh
                first += 1
            self._plans[name] = (until, tuple(kept))
        for name in set(self._plans) - set(band.served):
            # An interval that has begun is brought to its end, so that what was spent on it is not lost.
            kept = tuple(group for group in self._groups(name) if group.end_s + LATE_SLOTS * slot_s > t)
            if kept:
                self._plans[name] = (self._plans[name][0], kept)
            else:
                del self._plans[name]

    def _groups(self, name: str) -> tuple[Group, ...]:
        return self._plans[name][1] if name in self._plans else ()

    def _switch(self, cancellation_db: float | None) -> None:
        if cancellation_db is None:
            self._duplex = "half"
        elif abs(cancellation_db - self.break_even_db) > HYSTERESIS_DB:
            self._duplex = "full" if cancellation_db > self.break_even_db else "half"

    def _price(self, observation: Observation) -> None:
        """Dual subgradient step on the least rates."""
        for user, rate in zip(observation.users, observation.average_rates, strict=True):
            if user.min_rate_bits_per_s > 0.0:
                missing = 1.0 - float(rate) / user.min_rate_bits_per_s
                self._prices[user.name] = max(0.0, self._prices.get(user.name, 0.0) + PRICE_STEP * missing)

    def _reason(self, setting: CellSetting) -> str:
        looks = ", ".join(
            f"{name} {sum(group.symbols for group in groups)} symbols in {len(groups)} groups"
            for name, groups in setting.plans.items()
        )
        return f"{setting.budget.duplex} duplex; looks: {looks or 'none'}"


def groups_of(begin: float, service: Service, slot_s: float) -> list[Group]:
    """Spread an interval's looks: first and last far enough apart, gaps short enough, freedom within that.

    With n groups in [begin + j s, begin + j s + f), s = (U - f) / (n - 1) over a span U: the extent is at least U - 2 f
    and gaps are at most s + f. The freedom f is the largest that keeps both; more groups than needed are made as long
    as looks last, for they make freedom.
    """
    needs = service.needs
    span = max(0.0, min(needs.span_s, needs.refresh_s - slot_s))
    symbols = max(needs.groups, math.ceil(service.symbols * MARGIN))
    count = max(needs.groups, min(symbols, MOST_GROUPS))
    symbols, inner = max(symbols, count), max(1, count - 1)
    free = (span - needs.extent_s) / 2.0
    if needs.extent_s and inner > 1:
        free = min(free, (needs.largest_gap_s - span / inner) / (1.0 - 1.0 / inner))
    free = max(free, 0.0)
    step = (span - free) / inner
    each, more = divmod(symbols, count)
    starts = [begin + number * step for number in range(count)]
    return [Group(at, at + free, each + (1 if number < more else 0)) for number, at in enumerate(starts)]


def stopping(values: np.ndarray, slots: int = 64) -> np.ndarray:
    """Thresholds of optimal stopping for the least of independent draws: v_1 = E X, v_m = E min(X, v_(m-1)).

    Args:
        values: of recent slots, float [n]; none: thresholds of 1.
        slots: that may be left.

    Returns:
        float [slots]: with m slots to come after this one, take this one if it is below v_m (index m - 1).
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return np.ones(slots)
    thresholds = [float(values.mean())]
    for _ in range(slots - 1):
        thresholds.append(float(np.minimum(values, thresholds[-1]).mean()))
    return np.array(thresholds)
