"""Key figures of decisions, the same for all stages, and their account over time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fairlead_isac.scenario import Channels, Target
from fairlead_isac.stages.decision import Decision, SensingResult


@dataclass(frozen=True, slots=True)
class Kpis:
    """Key figures of one decision. None: there is nothing to say it of (no user, no target, no residual).

    Args:
        rate_p5_bits_per_s: 5th percentile of users' rates.
        rate_p50_bits_per_s: their median.
        rate_sum_bits_per_s: their sum.
        proportional_fairness_bits_per_s: geometric mean of users' rates: what proportional fairness raises;
            0 where a user gets nothing.
        sinr_violations: users below their least rate.
        sensing_violations: targets with a requirement that is missed.
        sensing: what each target gets; standard deviations only where the integrated SNR is out of the threshold
            region of 25 dB.
        gated: targets whose integrated SNR is below it.
        sensing_overhead: share of time that carries no data because it is for sensing alone.
        self_interference_margin_db: noise over residual self-interference at a receiving antenna.
        fell_back: the decision is not the optimum that was asked for.
    """

    rate_p5_bits_per_s: float | None
    rate_p50_bits_per_s: float | None
    rate_sum_bits_per_s: float
    proportional_fairness_bits_per_s: float | None
    sinr_violations: int
    sensing_violations: int
    sensing: dict[str, SensingResult]
    gated: int
    sensing_overhead: float
    self_interference_margin_db: float | None
    fell_back: bool


def kpis(decision: Decision, channels: Channels) -> Kpis:
    """Key figures of a decision under the channels that it was made for."""
    rates = np.array(list(decision.rate_bits_per_s.values()))
    some = len(rates) > 0
    return Kpis(
        rate_p5_bits_per_s=float(np.percentile(rates, 5)) if some else None,
        rate_p50_bits_per_s=float(np.median(rates)) if some else None,
        rate_sum_bits_per_s=float(rates.sum()),
        proportional_fairness_bits_per_s=_geometric_mean(rates) if some else None,
        sinr_violations=len(decision.unmet),
        sensing_violations=sum(bool(result.unmet) for result in decision.sensing.values()),
        sensing=dict(decision.sensing),
        gated=sum(result.gated for result in decision.sensing.values()),
        sensing_overhead=decision.time_fraction_sensing,
        self_interference_margin_db=_margin_db(decision.power_watts, channels),
        fell_back=decision.fallback is not None,
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """Key figures over the account's window.

    Args:
        decisions: how many.
        rate_p5_bits_per_s, rate_p50_bits_per_s: percentiles over users and decisions; None: no rates.
        sinr_violations, sensing_violations: in all decisions.
        sensing_overhead: mean share of time.
        age_of_sensing_s: by target, time since a decision last met all that it requires; infinite: never.
        decision_latency_p99_s: None where no latency was measured.
        deadline_misses, fallbacks: counts.
    """

    decisions: int
    rate_p5_bits_per_s: float | None
    rate_p50_bits_per_s: float | None
    sinr_violations: int
    sensing_violations: int
    sensing_overhead: float
    age_of_sensing_s: dict[str, float]
    decision_latency_p99_s: float | None
    deadline_misses: int
    fallbacks: int


@dataclass(frozen=True, slots=True)
class _Entry:
    figures: Kpis
    rates: tuple[float, ...]
    latency_s: float | None
    missed: bool


@dataclass(slots=True)
class Account:
    """Collects decisions' key figures; keeps the last ``window`` of them. Time is an argument.

    Args:
        window: decisions that percentiles and counts are taken over.
    """

    window: int = 1000
    _entries: deque[_Entry] = field(default_factory=deque)
    _met_s: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        decision: Decision,
        channels: Channels,
        at_s: float,
        latency_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Kpis:
        """Enter a decision made at ``at_s``; it missed its deadline where its latency is longer."""
        figures = kpis(decision, channels)
        missed = latency_s is not None and deadline_s is not None and latency_s > deadline_s
        self._entries.append(_Entry(figures, tuple(decision.rate_bits_per_s.values()), latency_s, missed))
        while len(self._entries) > self.window:
            self._entries.popleft()
        met = [name for name, result in decision.sensing.items() if not result.unmet and result.integrated_snr > 0]
        self._met_s.update(dict.fromkeys(met, at_s))
        return figures

    def summary(self, now_s: float, targets: Iterable[str] = ()) -> Summary:
        """Key figures of the window; ``targets`` are those whose age is asked for beside the ones met before."""
        entries = list(self._entries)
        rates = np.array([rate for entry in entries for rate in entry.rates])
        latencies = [entry.latency_s for entry in entries if entry.latency_s is not None]
        names = dict.fromkeys([*self._met_s, *targets])
        return Summary(
            decisions=len(entries),
            rate_p5_bits_per_s=float(np.percentile(rates, 5)) if len(rates) else None,
            rate_p50_bits_per_s=float(np.median(rates)) if len(rates) else None,
            sinr_violations=sum(entry.figures.sinr_violations for entry in entries),
            sensing_violations=sum(entry.figures.sensing_violations for entry in entries),
            sensing_overhead=float(np.mean([e.figures.sensing_overhead for e in entries])) if entries else 0.0,
            age_of_sensing_s={name: now_s - self._met_s.get(name, -math.inf) for name in names},
            decision_latency_p99_s=float(np.percentile(latencies, 99)) if latencies else None,
            deadline_misses=sum(entry.missed for entry in entries),
            fallbacks=sum(entry.figures.fell_back for entry in entries),
        )


def stale(account: Summary, targets: Iterable[Target]) -> list[str]:
    """Targets whose age of sensing is above the refresh time that they require."""
    ages = account.age_of_sensing_s
    return [
        target.name
        for target in targets
        if target.required.refresh_s is not None and ages.get(target.name, math.inf) > target.required.refresh_s
    ]


def by_class(figures: Kpis, classes: Mapping[str, int]) -> dict[int, list[SensingResult]]:
    """Results of targets by the sensing class that each is sensed for; targets without a class are left out."""
    out: dict[int, list[SensingResult]] = {}
    for name, result in figures.sensing.items():
        if name in classes:
            out.setdefault(classes[name], []).append(result)
    return out


def _geometric_mean(rates: np.ndarray) -> float:
    return float(np.exp(np.log(rates).mean())) if (rates > 0).all() else 0.0


def _margin_db(power_watts: float, channels: Channels) -> float | None:
    if channels.cancellation_db is None or power_watts <= 0:
        return None
    return 10 * math.log10(channels.echo_noise_watts / power_watts) + channels.cancellation_db
