"""Records of a cell, one a period: what a RIC reads of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..kpi.link import Link
from ..kpi.records import Period, indication
from ..scenario import Channels
from ..stages.decision import Decision, SensingResult
from ..stages.kpis import Kpis, kpis
from .book import Book, Entry
from .counters import Counters

PERIOD_S = 1.0
KEPT_PERIODS = 3600


class Periods:
    """Closes a period each second, and keeps the latest.

    Args:
        book: requests.
        counters: of what happens.
        slot_s: between two decisions.
        clock: monotonic seconds.
        unix: Unix seconds.
    """

    def __init__(
        self, book: Book, counters: Counters, slot_s: float, clock: Callable[[], float], unix: Callable[[], float]
    ) -> None:
        self._book, self._counters, self._slot_s = book, counters, slot_s
        self._clock, self._unix = clock, unix
        self._kept: deque[Period] = deque(maxlen=KEPT_PERIODS)
        self._began, self._before = clock(), dict[str, float]()

    def records(self, last: int, sender: str, cell: str) -> dict[str, Any]:
        """Records of the latest periods."""
        return indication(list(self._kept)[-last:], sender, cell)

    def take(
        self,
        decision: Decision,
        channels: Channels | None,
        rates: Mapping[str, float],
        links: Mapping[str, Link],
        traffic: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Close the period where it is over.

        Args:
            decision: that is in force.
            channels: under which it was made.
            rates: bit/s by user.
            links: by user.
            traffic: what passed users' queues, by user and attribute.
        """
        length = self._clock() - self._began
        if length < PERIOD_S:
            return
        self._began += length
        users = {
            name: {
                **_of_user(rates.get(name, 0.0), each, decision.sinr.get(name)),
                **_of_queue(traffic.get(name, {}), length),
            }
            for name, each in links.items()
        }
        users |= {name: {"DRB.UEThpUl": rate / 1e3} for name, rate in rates.items() if name not in links}
        requests = {entry.id: _of_request(entry, self._unix()) for entry in self._book.live()}
        classes = {entry.id: entry.request.sensing_class for entry in self._book.live()}
        targets = {name: _of_target(result, classes.get(name)) for name, result in decision.sensing.items()}
        cell = self._of_cell(decision, length) | ({} if channels is None else _of_figures(kpis(decision, channels)))
        self._kept.append(Period(self._unix() - length, length, cell, users, targets, requests))

    def _of_cell(self, decision: Decision, length: float) -> dict[str, float | None]:
        p99 = self._counters.quantile("decision", 0.99, max(1, int(length / self._slot_s)))
        misses = self._since("decision_deadline_misses") + self._since("estimate_deadline_misses")
        return {
            "SENS.AirTime": 100 * decision.time_fraction_sensing,
            "RRU.PrbTotDl": 100 * (1 - decision.time_fraction_sensing),
            "SCHED.DecisionLatencyP99": None if p99 is None else 1e6 * p99,
            "SCHED.DeadlineMisses": misses,
            "SCHED.Fallbacks": self._since("fallbacks"),
        }

    def _since(self, name: str) -> float:
        total = self._counters.total(name)
        before, self._before[name] = self._before.get(name, 0.0), total
        return total - before


def _of_figures(figures: Kpis) -> dict[str, float | None]:
    p5, p50, fair = (
        None if rate is None else rate / 1e3
        for rate in (
            figures.rate_p5_bits_per_s,
            figures.rate_p50_bits_per_s,
            figures.proportional_fairness_bits_per_s,
        )
    )
    return {
        "SCHED.RateP5": p5,
        "SCHED.RateP50": p50,
        "SCHED.ProportionalFairness": fair,
        "SCHED.SinrViolations": figures.sinr_violations,
        "SENS.Violations": figures.sensing_violations,
        "SENS.SelfInterferenceMargin": figures.self_interference_margin_db,
    }


def _of_user(rate: float, found: Link, sinr: float | None) -> dict[str, float | None]:
    return {
        "DRB.UEThpDl": rate / 1e3,
        "DRB.RlcSduDelayDl": found.latency_s * 1e4,
        "L1M.RS-SINR": None if not sinr else 10 * float(np.log10(sinr)),
    }


def _of_queue(traffic: Mapping[str, float], length_s: float) -> dict[str, float | None]:
    if not traffic:
        return {}
    return {
        "DRB.PdcpSduVolumeDL": traffic["throughput_bits_per_s"] * length_s / 1e6,
        "DRB.RlcPacketDropRateDl": 1e6 * traffic["loss"],
    }


def _of_request(entry: Entry, now_unix_s: float) -> dict[str, float | None]:
    last = entry.estimates[-1] if entry.estimates else None
    return {
        "SENS.Age": None if last is None else 1e3 * (now_unix_s - last.measured_unix_s),
        "SENS.Class": entry.request.sensing_class,
    }


def _of_target(result: SensingResult, number: int | None) -> dict[str, float | None]:
    return {
        "SENS.Class": number,
        "SENS.AngleStd": None if result.angle_std_rad is None else 1e3 * result.angle_std_rad,
        "SENS.IntegratedSnr": 10 * float(np.log10(max(result.integrated_snr, 1e-30))),
        "SENS.FalseAlarm": 100 * result.false_alarm,
        "SENS.RangeStd": None if result.range_std_m is None else 1e3 * result.range_std_m,
        "SENS.VelocityStd": None if result.velocity_std_m_per_s is None else 1e3 * result.velocity_std_m_per_s,
        "SENS.DetectionProbability": 100 * result.detection_probability,
    }
