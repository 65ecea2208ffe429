"""The cell's layer (10 ms to 1 s): when targets are looked at, the duplex mode, and prices of users' least rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_isac.duplex.switching import DuplexSwitch
from fairlead_isac.errors import IsacError
from fairlead_isac.granularity.band import BandSetting, Service, full_rate, service_of
from fairlead_isac.granularity.layer import Answer, Observation, SolverFailed, TrackedTarget
from fairlead_isac.granularity.looks import LookNeeds
from fairlead_isac.scenario import Budget

#: Self-interference cancellation at which full duplex carries as much as half duplex: measured for 3.5 GHz, 100 MHz,
#: 30 and 20 dBm, 16 + 16 antennas, white residual; and how far beyond it the mode changes.
BREAK_EVEN_DB, HYSTERESIS_DB = 96.0, 2.0
#: Step of the dual prices of least rates.
PRICE_STEP = 0.5
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
        self._plans: dict[str, tuple[Group, ...]] = {}
        self._passed: dict[str, str] = {}
        self._switch = DuplexSwitch(HYSTERESIS_DB)
        self._prices: dict[str, float] = {}

    def decide(self, t: float, observation: Observation, above: Any) -> Answer:
        """Plan the intervals that begin in this period, step the prices; SolverFailed without a band's setting."""
        if not isinstance(above, BandSetting):
            raise SolverFailed(f"the layer above set {type(above).__name__}; accepted: BandSetting")
        self._plan(observation, t, above)
        self._price(observation)
        share = sum(service.air_share for service in above.served.values())
        budget = Budget(
            above.power_watts,
            (0.0, max(above.most_sensing, min(1.0, share))),
            above.resource_blocks,
            self._switch.choose(observation.cancellation_db, self.break_even_db),
            1.0,
            above.bits_per_refresh / max(above.air_price, 1.0),
        )
        beams = {each.target.name: each.target.angle_rad for each in observation.targets}
        setting = CellSetting(budget, dict(self._plans), stopping(observation.recent_values), dict(self._prices), beams)
        return Answer(
            setting, self._reason(setting), {f"rate of {user}": price for user, price in self._prices.items()}
        )

    def default(self, observation: Observation) -> Answer:
        """No looks, half duplex."""
        budget = Budget(observation.cell.power_watts, (0.0, 0.0), observation.gains.shape[1])
        return Answer(CellSetting(budget, {}, np.zeros(0), {}, {}), "data alone until there is a decision")

    def _plan(self, observation: Observation, t: float, band: BandSetting) -> None:
        """Keep groups of intervals that run, to their end; plan each interval that begins within the period."""
        late = LATE_SLOTS * observation.cell.numerology.slot_s
        rate = full_rate(observation, band.resource_blocks)
        plans: dict[str, tuple[Group, ...]] = {}
        for name, groups in self._plans.items():
            if kept := tuple(group for group in groups if group.end_s + late > t):
                plans[name] = kept
        self._plans, self._passed = plans, {}
        for tracked in observation.targets:
            service = band.served.get(tracked.target.name)
            if service is not None:
                self._plan_target(
                    observation,
                    t,
                    tracked,
                    service_of(tracked, observation, service.relaxed, self.period_s),
                    band,
                    rate,
                )

    def _plan_target(
        self, seen: Observation, t: float, tracked: TrackedTarget, service: Service, band: BandSetting, rate: float
    ) -> None:
        """Targets move within a band's period: looks are counted anew for each interval, and weighed at its price."""
        name, refresh = tracked.target.name, service.needs.refresh_s
        first = math.ceil(t / refresh - 1e-6)
        while first * refresh < t + self.period_s - 1e-9:
            cost = service.air_share * refresh * rate
            worth = band.bits_per_refresh * tracked.target.weight
            if cost > worth:
                self._passed[name] = f"costs {cost / 1e3:.3g} kbit now and is worth {worth / 1e3:.3g}"
            else:
                groups = groups_of(first * refresh, service, seen.cell.numerology.slot_s)
                self._plans[name] = (*self._plans.get(name, ()), *groups)
            first += 1

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
        passed = "".join(f"; not {name} this time: {why}" for name, why in self._passed.items())
        return f"{setting.budget.duplex} duplex; looks: {looks or 'none'}{passed}"


def groups_of(begin: float, service: Service, slot_s: float) -> list[Group]:
    """Spread an interval's looks: first and last far enough apart, gaps short enough, freedom within that.

    With n groups in [begin + j s, begin + j s + f), s = (U - f) / (n - 1) over a span U: the extent is at least U - 2 f
    and gaps are at most s + f. U makes the freedom f largest; as many groups as there are looks make most freedom.
    """
    needs = service.needs
    symbols = max(needs.groups, service.symbols)
    count = max(needs.groups, min(symbols, MOST_GROUPS))
    span, free = _span(needs, count - 1, needs.refresh_s - slot_s)
    step = (span - free) / max(1, count - 1)
    each, more = divmod(symbols, count)
    starts = [begin + number * step for number in range(count)]
    return [Group(at, at + free, each + (1 if number < more else 0)) for number, at in enumerate(starts)]


def _span(needs: LookNeeds, gaps: int, most: float) -> tuple[float, float]:
    """The span U and the freedom f: the least of (U - extent) / 2 and (gap - U / n) / (1 - 1 / n) is largest."""
    if not needs.extent_s or gaps < 2:
        span = max(0.0, most)
        return span, max(0.0, (span - needs.extent_s) / 2.0) if gaps else span
    inner = 1.0 / gaps
    best = (2.0 * needs.largest_gap_s + needs.extent_s * (1.0 - inner)) / (1.0 + inner)
    span = max(0.0, min(max(best, needs.extent_s), most))
    free = min((span - needs.extent_s) / 2.0, (needs.largest_gap_s - span * inner) / (1.0 - inner))
    return span, max(0.0, free)


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
