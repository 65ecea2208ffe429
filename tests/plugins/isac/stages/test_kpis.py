"""Key figures: from decisions, over time, and gated where bounds mean nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead_isac.scenario import Budget
from fairlead_isac.stages.catalogue import stage
from fairlead_isac.stages.kpis import Account, by_class, kpis, stale
from tests.plugins.isac.stages.scenes import CELL, channels, targets, users


def test_figures_of_one_decision() -> None:
    found = channels(1, 3, 2, cancellation_db=100.0)
    asked = stage("converged", CELL, users=users(3), targets=targets(2))
    decision = asked.decide(found, Budget(10.0))
    figures = kpis(decision, found)
    rates = sorted(decision.rate_bits_per_s.values())
    assert figures.rate_p50_bits_per_s == pytest.approx(rates[1])
    assert figures.rate_sum_bits_per_s == pytest.approx(sum(rates))
    assert figures.proportional_fairness_bits_per_s == pytest.approx(math.prod(rates) ** (1 / 3))
    assert figures.sinr_violations == figures.sensing_violations == 0 and not figures.fell_back
    # Noise of 1 W, 10 W sent, 100 dB suppressed: 1e-9 W are left.
    assert figures.self_interference_margin_db == pytest.approx(90)
    assert by_class(figures, {"t1": 3}) == {3: [decision.sensing["t1"]]}


def test_deviations_are_not_given_below_the_threshold() -> None:
    asked = stage("converged", CELL, users=users(2), targets=targets(1, range_std_m=100.0))
    elements = CELL.numerology.subcarriers * CELL.numerology.symbols
    # All power at the target gives 24 dB, 1 dB below what estimators need.
    gain = 10**2.4 / (elements * CELL.antennas * CELL.echo_antennas * 10.0)
    decision = asked.decide(channels(2, 2, 1, gain=gain), Budget(10.0))
    result = decision.sensing["t0"]
    assert result.gated and result.range_std_m is None and "no estimate" in result.unmet[0]
    assert kpis(decision, channels(2, 2, 1)).gated == 1
    better = asked.decide(channels(2, 2, 1, gain=2 * gain), Budget(10.0)).sensing["t0"]
    assert not better.gated and better.range_std_m is not None and not better.unmet


def test_the_account_counts_misses_fallbacks_and_ages() -> None:
    account, asked = Account(window=3), stage("orthogonal", CELL, users=users(2), targets=targets(1, refresh_s=0.15))
    found = channels(3, 2, 1)
    lost = channels(3, 2, 1)
    lost.sensing_gains[0] = np.nan
    for number, (seen, latency) in enumerate([(found, 2e-4), (found, 6e-4), (lost, 1e-4), (lost, 1e-4)]):
        account.add(asked.decide(seen, Budget(10.0)), seen, 0.1 * number, latency, 5e-4)
    summary = account.summary(0.3, ["t0", "never"])
    assert (summary.decisions, summary.deadline_misses, summary.fallbacks) == (3, 1, 2)
    assert summary.age_of_sensing_s["t0"] == pytest.approx(0.2)
    assert summary.age_of_sensing_s["never"] == math.inf
    assert stale(summary, asked.targets) == ["t0"]
    assert summary.decision_latency_p99_s == pytest.approx(6e-4, rel=0.05)
