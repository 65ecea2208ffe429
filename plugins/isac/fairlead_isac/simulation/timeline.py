"""What a simulation recorded: rates and looks over time, verdicts, decisions by layer, and key figures of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_isac.granularity.layer import LayerDecision
from fairlead_isac.granularity.looks import Verdict

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A simulation's record.

    Attributes:
        policy: who decided.
        users, targets: names.
        times_s: float64 [samples], begin of each sample.
        sample_s: length of a sample.
        rates_bits_per_s: float64 [samples, users], average over the sample.
        looks: float64 [samples, targets], share of the sample's time.
        ranges_m: float64 [samples, targets].
        verdicts: on all refresh intervals that ended.
        decisions: of all layers but the finest ones, which are kept for one slot in each sample.
        decided: how many decisions each layer took.
        fallbacks: how many of these were fallbacks.
    """

    policy: str
    users: tuple[str, ...]
    targets: tuple[str, ...]
    times_s: F64
    sample_s: float
    rates_bits_per_s: F64
    looks: F64
    ranges_m: F64
    verdicts: tuple[Verdict, ...]
    decisions: tuple[LayerDecision, ...]
    decided: dict[str, int]
    fallbacks: dict[str, int]

    @property
    def satisfaction(self) -> float:
        """Share of refresh intervals in which all needs of the target were met; nan where none ended."""
        return float(np.mean([verdict.met for verdict in self.verdicts])) if self.verdicts else float("nan")

    @property
    def sum_rate_bits_per_s(self) -> float:
        """Of all users, on average."""
        return float(self.rates_bits_per_s.sum(axis=1).mean()) if self.rates_bits_per_s.size else 0.0

    def kpis(self) -> dict[str, float]:
        """Key figures by name, in SI units and shares."""
        rates = self.rates_bits_per_s
        each = rates.mean(axis=0) if rates.size else np.zeros(0)
        fairness = float(each.sum() ** 2 / (len(each) * (each @ each))) if each.any() else float("nan")
        return {
            "sum_rate_bits_per_s": self.sum_rate_bits_per_s,
            "user_rate_p5_bits_per_s": float(np.percentile(rates, 5)) if rates.size else 0.0,
            "user_rate_p50_bits_per_s": float(np.percentile(rates, 50)) if rates.size else 0.0,
            "fairness_index": fairness,
            "sensing_satisfaction": self.satisfaction,
            "sensing_overhead": float(self.looks.sum(axis=1).mean()) if self.looks.size else 0.0,
            "age_of_sensing_s": self.age_of_sensing_s(),
            "fallbacks": float(sum(self.fallbacks.values())),
        }

    def age_of_sensing_s(self) -> float:
        """Mean time since the last satisfied interval began; over targets, from the first one of each on."""
        ages = [self._age(name) for name in self.targets]
        known = [age for age in ages if age is not None]
        return float(np.mean(known)) if known else float("nan")

    def _age(self, name: str) -> float | None:
        met = [verdict.begin_s for verdict in self.verdicts if verdict.target == name and verdict.met]
        if not met:
            return None
        later = self.times_s[self.times_s >= met[0]]
        return float(np.mean([time - max(at for at in met if at <= time) for time in later])) if len(later) else 0.0

    def missed(self) -> dict[str, int]:
        """How often which need was missed."""
        return dict(Counter(need for verdict in self.verdicts for need in verdict.missed))
